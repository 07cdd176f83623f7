"""Watching attention changes nothing, ends with the block, and refuses models whose attentions cannot be seen."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
)

from haloquant.errors import InputError
from haloquant.lm.attention.watch import check_watchable, watched

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = torch.arange(24).view(2, 12) % 7 + 3
CONFIGS = {
    "llama": LlamaConfig(**SMALL, num_key_value_heads=2),
    "gpt2": GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4),
    "opt": OPTConfig(**{**SMALL, "intermediate_size": None}, ffn_dim=48, word_embed_proj_dim=32),
    "phi3": Phi3Config(**SMALL, num_key_value_heads=2, pad_token_id=0),
}


class Calls:
    """A watcher that keeps the shapes of queries and keys."""

    def __init__(self) -> None:
        self.shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.calls = 0

    def begin(self) -> None:
        self.calls += 1

    def end(self) -> None:
        self.calls -= 1

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        assert self.calls == 1
        self.shapes.append((tuple(query.shape), tuple(key.shape)))


def _model(config: PreTrainedConfig, attention: str = "sdpa"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_watched_model_computes_the_same_and_shows_every_attention(name: str, attention: str) -> None:
    model, calls = _model(CONFIGS[name], attention), Calls()
    with torch.inference_mode():
        for padding in (None, torch.tensor([[0] * 4 + [1] * 8, [1] * 12])):
            before = model(input_ids=TOKENS, attention_mask=padding, use_cache=False).logits
            with watched(model, calls):
                assert torch.equal(model(input_ids=TOKENS, attention_mask=padding, use_cache=False).logits, before)
        model(input_ids=TOKENS)  # no longer watched
    assert model.config._attn_implementation == attention
    heads = 2 if name in ("llama", "phi3") else 4
    assert calls.shapes == [((2, 4, 12, 8), (2, heads, 12, 8))] * 4 and calls.calls == 0


def test_keys_of_a_cache_are_those_of_all_tokens() -> None:
    model, calls = _model(CONFIGS["llama"]), Calls()
    with torch.inference_mode(), watched(model, calls):
        cache = model(input_ids=TOKENS[:, :11]).past_key_values
        model(input_ids=TOKENS[:, 11:], past_key_values=cache)
    assert calls.shapes[-1] == ((2, 4, 1, 8), (2, 2, 12, 8))


def test_a_call_that_fails_is_over() -> None:
    model, calls = _model(CONFIGS["llama"]), Calls()
    with watched(model, calls):
        with pytest.raises(IndexError):
            model(input_ids=TOKENS + 1000)
        assert calls.calls == 0
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("config", "attention", "said"),
    [
        (BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=4), "eager", "BloomForCausalLM does not$"),
        (MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=8), "sdpa", "has some over a sliding window$"),
        (Gemma3TextConfig(**SMALL, num_key_value_heads=2, head_dim=8), "sdpa", "has some over a sliding window$"),
        (CONFIGS["llama"], "flex_attention", "^attention must be sdpa or eager to have tokens scored, not flex_att"),
    ],
)
def test_models_whose_attentions_cannot_be_seen_are_refused(config, attention: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_watchable(_model(config, attention))
