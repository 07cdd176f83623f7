"""One token from compiled parts gives what transformers gives, and every other call goes to transformers."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import DynamicCache, StaticCache

import haloquant
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed import token_step
from support.halo_layers import codebooks
from support.model_families import save_model, tiny_config
from support.tiny_model import quantized, save_llama

PROMPT = torch.arange(3, 15)[None]
NEXT = torch.tensor([[7]])


def packed_folder(folder, family):
    """A packed model of a family; Llama has biases in its attention."""
    plain = folder / "plain"
    if family == "llama":
        save_llama(plain)
    else:
        save_model(plain, tiny_config(family))
    checkpoint = open_checkpoint(plain)
    export_packed(
        checkpoint, quantized(checkpoint, codebooks()), folder / "packed", profile_name="p", profile_sha256="ab" * 32
    )
    return folder / "packed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return packed_folder(tmp_path_factory.mktemp("step"), "llama")


@pytest.fixture
def model(folder):
    return haloquant.load(folder, dtype=torch.float32)


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """The number of tokens that were computed from compiled parts."""
    count = [0]
    plain = token_step.TokenStep.hidden_state

    def hidden_state(*given):
        count[0] += 1
        return plain(*given)

    monkeypatch.setattr(token_step.TokenStep, "hidden_state", hidden_state)
    return count


def by_transformers(model):
    """The same model without compiled steps."""
    twin = deepcopy(model)
    for module in twin.modules():
        module.__dict__.pop("forward", None)
    return twin


def logits(model, tokens=(7, 9, 4), **given):
    """The logits of some tokens, one after the other behind the prompt."""
    with torch.inference_mode():
        cache = model(PROMPT, use_cache=True).past_key_values
        found = [model(torch.tensor([[t]]), past_key_values=cache, use_cache=True, **given).logits for t in tokens]
    assert cache.get_seq_length() == PROMPT.shape[1] + len(tokens)
    return torch.cat(found, 1).float()


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_logits_are_those_of_transformers(tmp_path, family, counted) -> None:
    made = packed_folder(tmp_path, family)
    model = haloquant.load(made, dtype=torch.float32)
    model.config.sliding_window = None
    found = logits(model)
    assert counted == [3]
    wanted = logits(by_transformers(model))
    assert counted == [3]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    half = haloquant.load(made, dtype=torch.bfloat16)
    half.config.sliding_window = None
    # Fewer roundings to bfloat16 than in transformers: no further from the products in float32.
    ours, theirs = (float((logits(m) - wanted).norm()) for m in (half, by_transformers(half)))
    assert counted == [6]
    assert 0 < ours < 1.2 * theirs


def test_rounded_inputs_and_layers_left_in_full_precision(folder, counted) -> None:
    model = haloquant.load(folder, dtype=torch.float32, activations="int8")
    block = model.model.layers[1]
    block.mlp.up_proj = block.mlp.up_proj.to_linear()
    exact = haloquant.load(folder, dtype=torch.float32)
    found, wanted, without = logits(model), logits(by_transformers(model)), logits(by_transformers(exact))
    assert counted == [3]
    # Sums in another order may move an input to the next code, and that changes far less than rounding does.
    assert (found - wanted).norm() < 0.2 * (wanted - without).norm()


def test_generation_gives_the_same_tokens(model, counted) -> None:
    settings = {"max_new_tokens": 9, "do_sample": False}
    found = model.generate(PROMPT, **settings)
    assert counted == [8]  # the first comes with the prompt
    assert torch.equal(found, by_transformers(model).generate(PROMPT, **settings))
    several = PROMPT.repeat(2, 1)
    assert torch.equal(model.generate(several, **settings), found.repeat(2, 1))
    assert counted == [8]


def test_changes_between_two_tokens_count(model, counted) -> None:
    before = logits(model)
    copied = deepcopy(model)
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight.mul_(2)
        model.model.layers[1].mlp.down_proj.weight_scale.mul_(2)
    found = logits(model)
    assert counted == [6]
    assert not torch.allclose(found, before, atol=1e-3)
    torch.testing.assert_close(found, logits(by_transformers(model)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(copied), before)
    assert counted == [9]
    model.model.layers[0] = copied.model.layers[0]
    torch.testing.assert_close(logits(model), logits(by_transformers(model)), rtol=1e-4, atol=1e-5)
    assert counted == [12]


class Doubled(nn.Module):
    """A layer around another, as an adapter is."""

    def __init__(self, inner) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return 2 * self.inner(x)


@pytest.mark.parametrize("change", ["hook", "adapter", "gelu", "attention"])
def test_a_model_of_another_form_is_computed_by_transformers(model, counted, change) -> None:
    mlp = model.model.layers[1].mlp
    if change == "hook":
        mlp.register_forward_hook(lambda _module, _given, found: 2 * found)
    elif change == "adapter":
        mlp.up_proj = Doubled(mlp.up_proj)
    elif change == "gelu":
        mlp.act_fn = nn.GELU()
    else:
        model.config._attn_implementation = "flex_attention"
    wanted = by_transformers(model)
    if change == "attention":
        assert not token_step._is_single_token(model.model, NEXT, past_key_values=DynamicCache(), use_cache=True)
        return
    torch.testing.assert_close(logits(model), logits(wanted))
    assert counted == [0]


def test_calls_that_ask_for_more_are_computed_by_transformers(model, counted) -> None:
    wanted = logits(model, [7])
    assert counted == [1]
    with torch.inference_mode():
        hidden = model(NEXT, past_key_values=model(PROMPT).past_key_values, output_hidden_states=True).hidden_states
        assert len(hidden) == 3
        masked = torch.cat([torch.zeros(1, 4), torch.ones(1, PROMPT.shape[1] - 3)], 1).long()
        part = model(NEXT, past_key_values=model(PROMPT).past_key_values, attention_mask=masked).logits
        assert not torch.allclose(part, wanted, atol=1e-3)
        whole = torch.ones_like(masked)
        fixed = StaticCache(model.config, max_cache_len=32)
        model(PROMPT, past_key_values=fixed)
        torch.testing.assert_close(model(NEXT, past_key_values=fixed).logits, wanted, rtol=1e-4, atol=1e-5)
        assert counted == [1]
        found = model(NEXT, past_key_values=model(PROMPT).past_key_values, attention_mask=whole).logits
        torch.testing.assert_close(found, wanted)
        assert counted == [2]
    found = model(NEXT, past_key_values=model(PROMPT).past_key_values).logits  # with gradients
    assert counted == [2]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_window_that_leaves_tokens_out_is_heeded(tmp_path, counted) -> None:
    made = packed_folder(tmp_path, "mistral")
    model = haloquant.load(made, dtype=torch.float32)
    assert model.config.sliding_window is not None
    torch.testing.assert_close(logits(model), logits(by_transformers(model)))
    assert counted == [0]
