"""Maps of attention against a model's own, cosines and spreads against plain numpy."""

import copy

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from haloquant.lm.attention.comparison import AttentionChange, attention_maps, compare_attention
from haloquant.lm.attention.watch import watched

WINDOWS = np.random.default_rng(0).integers(0, 64, (3, 12))
CONFIGS = {
    "llama": LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2,
    ),
    "gpt2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4),
}  # fmt: skip


def _model(name: str, attention: str = "sdpa"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation=attention).eval()


def _changed(model):
    """The same model with queries of the second block that are negated, and so turn its maps around."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.layers[1].self_attn.q_proj.weight.neg_()
    return other


class Maps:
    def __init__(self) -> None:
        self.found: list[torch.Tensor] = []

    def begin(self) -> None:
        pass

    def end(self) -> None:
        pass

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        self.found.append(attention_maps(query, key, mask, scale))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CONFIGS)
def test_maps_are_those_that_the_model_computes(name: str, attention: str) -> None:
    tokens, maps = torch.from_numpy(WINDOWS[:1]), Maps()
    with torch.inference_mode():
        own = _model(name, "eager")(input_ids=tokens, output_attentions=True).attentions
        model = _model(name, attention)
        with watched(model, maps):
            model(input_ids=tokens)
    for ours, theirs in zip(maps.found, own, strict=True):
        torch.testing.assert_close(ours, theirs[0], rtol=1e-5, atol=1e-6)


def test_cosines_and_spreads_by_hand() -> None:
    model = _model("llama")
    changed = _changed(model)
    first, second = compare_attention(model, changed, WINDOWS)
    assert (first.number, second.number) == (1, 2)
    assert first.cosines == pytest.approx([1.0] * 4) and first.spread == first.quantized_spread
    assert second.cosine < 0.9999 and second.spread == pytest.approx(second.quantized_spread)
    wanted = []
    for row in WINDOWS:
        maps = []
        for each in (model, changed):
            each.set_attn_implementation("eager")
            with torch.inference_mode():
                found = each(input_ids=torch.from_numpy(row[None]), output_attentions=True).attentions
            maps.append(found[1][0].double().numpy().reshape(4, -1))
        ours, others = maps
        wanted.append((ours * others).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(others, axis=1))
    np.testing.assert_allclose(second.cosines, np.mean(wanted, axis=0), rtol=1e-5)


def test_the_spread_of_queries_and_keys_by_hand() -> None:
    """Positions turn queries and keys, so GPT-2 is taken, which has none there: its projections are the operands."""
    model = _model("gpt2")
    made: list[np.ndarray] = []
    model.transformer.h[0].attn.c_attn.register_forward_hook(lambda *call: made.append(call[2][0].double().numpy()))
    first = compare_attention(model, copy.deepcopy(model), WINDOWS)[0]
    spreads = [
        sum(np.log1p(part.reshape(12, 4, 8)[:, head].var()) for part in np.split(rows, 3, 1)[:2] for head in range(4))
        for rows in made[::2]  # the copy has the hook, too
    ]
    assert first.spread == pytest.approx(np.mean(spreads), rel=1e-5)


def test_the_mean_over_heads() -> None:
    assert AttentionChange(1, (0.5, 1.0), 0.0, 0.0).cosine == 0.75
