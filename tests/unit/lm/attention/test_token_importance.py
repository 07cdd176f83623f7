"""Classes of tokens: against loops over a whole model, at the ends of the share, by sequence, and one by one."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from haloquant.errors import InputError
from haloquant.lm.attention.token_importance import (
    FARTHEST,
    TokenClasses,
    find_thresholds,
    first_token_scores,
    sample_windows,
    text_windows,
)
from haloquant.lm.evaluation.rounded_activations import (
    activations_by_class,
    activations_per_token,
    find_mixed_activations,
    quantize_by_class,
    quantize_per_token,
)
from haloquant.records.mixed_activations import LowTokens, MixedActivations

HEADS, KEY_HEADS, SIZE, BLOCKS = 4, 2, 8, 2
WINDOWS = np.random.default_rng(0).integers(0, 96, (3, 24))
BATCH = torch.from_numpy(WINDOWS)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=96, hidden_size=HEADS * SIZE, intermediate_size=48, num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS, max_position_embeddings=64,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def layers(model: LlamaForCausalLM) -> list[str]:
    return [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]


def _mixed(model, layers, share: float, choice: LowTokens = "lowest") -> MixedActivations:
    return find_mixed_activations(model, layers, WINDOWS, 8, 4, share, choice)


def _logits(model, tokens: torch.Tensor, **settings) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=tokens, use_cache=False, **settings).logits


@contextmanager
def _seen(model, layers) -> Iterator[dict[str, list[torch.Tensor]]]:
    """The inputs of layers, as hooks that were registered before or after see them."""
    found: dict[str, list[torch.Tensor]] = {}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: found.setdefault(name, []).append(args[0])
        )
        for name in layers
    ]
    yield found
    for handle in handles:
        handle.remove()


def _rotate(vector: list[float], position: int) -> list[float]:
    half = SIZE // 2
    angle = [position * 10000.0 ** (-i / half) for i in range(half)]
    return [
        *(vector[i] * math.cos(angle[i]) - vector[i + half] * math.sin(angle[i]) for i in range(half)),
        *(vector[i + half] * math.cos(angle[i]) + vector[i] * math.sin(angle[i]) for i in range(half)),
    ]


def _loop_scores(queries: torch.Tensor, keys: torch.Tensor) -> list[float]:
    """Scores of one sequence from the outputs of its projections, [tokens, heads * size], number by number."""
    scores = []
    for token, query in enumerate(queries.tolist()):
        total = 0.0
        for head in range(HEADS):
            own = _rotate(query[head * SIZE : (head + 1) * SIZE], token)
            group = head // (HEADS // KEY_HEADS)
            first = keys[0].tolist()[group * SIZE : (group + 1) * SIZE]  # at position 0 nothing is turned
            total += sum(a * b for a, b in zip(own, first, strict=True)) / math.sqrt(SIZE)
        scores.append(total)
    return scores


def _loop_rounded(row: list[float], bits: int) -> list[float]:
    top = 2 ** (bits - 1) - 1
    step = max(abs(value) for value in row) / top
    return [round(value / step) * step for value in row]


def test_a_whole_model_against_loops(model, layers) -> None:
    """Every layer's input, and which bits each token has, recomputed from what the projections were given."""
    mixed = _mixed(model, layers, 0.5)
    classes = TokenClasses(mixed)
    rounding = activations_by_class(model, layers, classes)
    with _seen(model, layers) as before, rounding as counts, _seen(model, layers) as after:
        _logits(model, BATCH)
    low = [[False] * WINDOWS.shape[1] for _ in WINDOWS]
    for name in layers:
        (raw,), (rounded,) = before[name], after[name]
        if name.endswith("o_proj"):  # the first layer after the scores of its block
            block = name.removesuffix("o_proj")
            number = int(block.split(".")[2])
            names = (block + "q_proj", block + "k_proj")
            made = [after[part][0] @ model.get_submodule(part).weight.detach().T for part in names]
            for sequence in range(len(WINDOWS)):
                scores = _loop_scores(made[0][sequence], made[1][sequence])
                low[sequence] = [score <= mixed.thresholds[number] for score in scores]
        for sequence in range(len(WINDOWS)):
            for token, row in enumerate(raw[sequence].tolist()):
                wanted = torch.tensor(_loop_rounded(row, 4 if low[sequence][token] else 8))
                torch.testing.assert_close(rounded[sequence, token], wanted, rtol=1e-5, atol=1e-6)
        assert counts.share(name) == pytest.approx(sum(map(sum, low)) / WINDOWS.size)
    assert 0.3 < counts.mean(layers) < 0.5  # the first block's projections have none


@pytest.mark.parametrize(("share", "bits"), [(0.0, 8), (1.0, 4)])
def test_at_the_ends_all_tokens_are_rounded_alike_bit_for_bit(share: float, bits: int, model, layers) -> None:
    with activations_per_token(model, layers, bits):
        wanted = _logits(model, BATCH)
    for choice in ("lowest", "random", "highest"):
        mixed = _mixed(model, layers, share, choice)
        with activations_by_class(model, layers, TokenClasses(mixed, choice)) as counts:
            assert torch.equal(_logits(model, BATCH), wanted)
        assert counts.mean(layers) == share


def test_the_sample_gives_the_share_and_the_highest_are_the_others(model, layers) -> None:
    low, high = (_mixed(model, layers, 0.5, choice) for choice in ("lowest", "highest"))
    assert low.thresholds == high.thresholds and low.tokens == WINDOWS.size
    scores = torch.randn(3, 24)
    with activations_by_class(model, layers, classes := TokenClasses(low)) as counts:
        _logits(model, BATCH)
    # The scores of the first block do not depend on classes, so the share of its tokens is that of the sample.
    assert counts.share("model.layers.0.self_attn.o_proj") == 0.5
    opposite = TokenClasses(high, "highest")
    for one in (classes, opposite):
        one.begin()
        one.see(scores[:, None, :, None], torch.ones(3, 1, 24, 1), None, 1.0)
    ours, others = classes.low_rows(72, "x"), opposite.low_rows(72, "x")
    assert isinstance(ours, torch.Tensor) and isinstance(others, torch.Tensor)
    assert torch.equal(ours, ~others) and 0 < int(ours.sum()) < 72


def test_random_tokens_are_drawn_by_the_share_and_the_seed(model, layers) -> None:
    mixed = MixedActivations(8, 4, 0.25, (0.0,) * BLOCKS, 1)

    def drawn(seed: int) -> torch.Tensor:
        classes = TokenClasses(mixed, "random", seed)
        classes.begin()
        classes.see(torch.zeros(64, 1, 64, 1), torch.zeros(64, 1, 64, 1), None, None)
        found = classes.low_rows(4096, "x")
        assert isinstance(found, torch.Tensor)
        return found

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))
    assert 0.2 < float(drawn(1).float().mean()) < 0.3


def test_sequences_of_a_batch_do_not_touch_each_other(model, layers) -> None:
    with activations_by_class(model, layers, TokenClasses(_mixed(model, layers, 0.5))):
        together = _logits(model, BATCH)
        for row, logits in zip(BATCH, together, strict=True):
            torch.testing.assert_close(_logits(model, row[None])[0], logits, rtol=1e-5, atol=1e-5)


def test_what_comes_later_changes_no_class(model, layers) -> None:
    other = BATCH.clone()
    other[:, 15:] = (other[:, 15:] + 7) % 96
    with activations_by_class(model, layers, TokenClasses(_mixed(model, layers, 0.5))):
        assert torch.equal(_logits(model, BATCH)[:, :15], _logits(model, other)[:, :15])


def test_one_token_after_the_other_gives_the_classes_of_the_whole(model, layers) -> None:
    """With a cache, a token is scored by its own query and the first token's stored key."""
    with activations_by_class(model, layers, TokenClasses(_mixed(model, layers, 0.5))) as counts:
        whole = _logits(model, BATCH)
        at_once = dict(counts.low)
        with torch.inference_mode():
            cache, rows = None, []
            for token in range(WINDOWS.shape[1]):
                out = model(input_ids=BATCH[:, token : token + 1], past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                rows.append(out.logits[:, 0])
    assert {name: 2 * count for name, count in at_once.items()} == counts.low
    torch.testing.assert_close(torch.stack(rows, 1), whole, rtol=1e-4, atol=1e-4)


class Kept(TokenClasses):
    """Classes that are kept: those of every attention, [batch, tokens]."""

    def __init__(self, mixed: MixedActivations) -> None:
        super().__init__(mixed)
        self.found: list[torch.Tensor] = []

    def see(self, query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, scale: float | None) -> None:
        super().see(query, key, mask, scale)
        found = self.low_rows(query.shape[0] * query.shape[2], "x")
        assert isinstance(found, torch.Tensor)
        self.found.append(found.view(query.shape[0], query.shape[2]))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padding_before_a_sequence_is_not_its_first_token(attention: str, model, layers) -> None:
    model.set_attn_implementation(attention)
    kept = Kept(_mixed(model, layers, 0.5))
    padded = torch.nn.functional.pad(BATCH[:1], (5, 0), value=3)
    seen = (torch.arange(29) >= 5)[None].long()
    positions = (torch.arange(29) - 5).clamp_min(0)[None]
    with activations_by_class(model, layers, kept):
        _logits(model, BATCH[:1])
        _logits(model, padded, attention_mask=seen, position_ids=positions)
    model.set_attn_implementation("sdpa")
    alone, found = kept.found[:BLOCKS], kept.found[BLOCKS:]
    for one, other in zip(alone, found, strict=True):
        assert torch.equal(one, other[:, 5:]) and 0 < int(one.sum()) < 24


@pytest.mark.parametrize("kind", ["bool", "added", "none"])
def test_scores_against_loops(kind: str) -> None:
    draw = np.random.default_rng(1)
    query, key = draw.standard_normal((2, 4, 5, 3)), draw.standard_normal((2, 2, 7, 3))
    first = [0, 0] if kind == "none" else [0, 2]
    seen = np.arange(7) >= np.array(first)[:, None]
    mask = None
    if kind != "none":
        rows = torch.from_numpy(np.broadcast_to(seen[:, None, None], (2, 1, 5, 7)).copy())
        mask = rows if kind == "bool" else torch.where(rows, 0.0, torch.finfo(torch.float32).min)
    found = first_token_scores(torch.from_numpy(query).float(), torch.from_numpy(key).float(), mask, 0.25)
    for b in range(2):
        for t in range(5):
            wanted = 0.25 * sum(query[b, h, t, i] * key[b, h // 2, first[b], i] for h in range(4) for i in range(3))
            assert float(found[b, t]) == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_a_default_factor_is_the_root_of_the_size() -> None:
    query, key = torch.ones(1, 2, 1, 16), torch.ones(1, 1, 1, 16)
    assert float(first_token_scores(query, key, None, None)) == 2 * 16 / 4


def test_rounding_by_class_is_that_per_token() -> None:
    x = torch.randn(2, 3, 5)
    x[0, 1] = 0.0
    low = torch.tensor([True, False, True, False, True, False])
    found = quantize_by_class(x, low, 8, 3)
    wanted = torch.where(low.view(2, 3, 1), quantize_per_token(x, 3), quantize_per_token(x, 8))
    assert torch.equal(found, wanted)
    assert torch.equal(quantize_by_class(x, True, 8, 3), quantize_per_token(x, 3))


def test_inverse_largest_codes() -> None:
    classes = TokenClasses(MixedActivations(8, 4, 0.5, (0.0,), 1))
    classes.begin()
    assert classes.steps(2, "x", torch.device("cpu")).tolist() == [np.float32(1 / 127)] * 2  # no score yet
    classes.see(torch.tensor([-1.0, 1.0]).view(1, 1, 2, 1), torch.ones(1, 1, 2, 1), None, 1.0)
    assert classes.steps(2, "x", torch.device("cpu")).tolist() == [np.float32(1 / 7), np.float32(1 / 127)]


def test_thresholds_at_the_ends_are_beyond_all_scores(model) -> None:
    assert find_thresholds(model, WINDOWS, 0.0) == (-FARTHEST,) * BLOCKS
    assert find_thresholds(model, WINDOWS, 1.0) == (FARTHEST,) * BLOCKS
    assert find_thresholds(model, WINDOWS, 0.0, "highest") == (FARTHEST,) * BLOCKS


def test_samples_are_of_whole_windows_of_at_most_8192_tokens() -> None:
    assert sample_windows(np.zeros((40, 256), np.int64)).shape == (32, 256)
    assert sample_windows(np.zeros((2, 16384), np.int64)).shape == (1, 16384)
    assert text_windows(np.zeros(100, np.int64), 256).shape == (1, 100)
    with pytest.raises(InputError, match=r"^thresholds of tokens must have a text of at least 2 tokens, not 1$"):
        text_windows(np.zeros(1, np.int64), 256)


def test_what_cannot_be_classed_is_refused(model, layers) -> None:
    mixed = _mixed(model, layers, 0.5)
    outside = pytest.raises(InputError, match=r"^lm_head must run within its whole model, as the model's attentions")
    with activations_by_class(model, layers, TokenClasses(mixed)), outside:
        model.lm_head(torch.zeros(1, 2, HEADS * SIZE))
    few = MixedActivations(8, 4, 0.5, mixed.thresholds[:1], 1)
    with activations_by_class(model, layers, TokenClasses(few)):
        with pytest.raises(InputError, match=r"^the model must have 1 attentions, one for each threshold, and has"):
            _logits(model, BATCH)
        with pytest.raises(InputError, match="must run within its whole model"):  # the failed call is over
            model.lm_head(torch.zeros(1, 2, HEADS * SIZE))
    classes = TokenClasses(mixed)
    classes.begin()
    classes.see(torch.zeros(1, 1, 4, 1), torch.zeros(1, 1, 4, 1), None, None)
    with pytest.raises(InputError, match=r"^e must get the 4 tokens of the model to round each by its score, not 3; m"):
        classes.low_rows(3, "e")
