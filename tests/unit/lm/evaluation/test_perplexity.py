"""Windows, samples and errors of a perplexity, on a model whose probabilities are known."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from haloquant.errors import InputError
from haloquant.lm.evaluation.perplexity import Perplexity, default_window, perplexity, sum_nll
from support.near import near

ODD_NATS, EVEN_NATS = math.log(2), math.log(4)


class Parity(torch.nn.Module):
    """Of five tokens it gives 1/2 to token 1, 1/4 to token 2, and 1/12 to each other one, whatever came before."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=5, max_position_embeddings=4096)
        self.logits = torch.nn.Parameter(torch.log(torch.tensor([1 / 12, 1 / 2, 1 / 4, 1 / 12, 1 / 12])))
        self.seen: list[list[int]] = []

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        self.seen += input_ids.tolist()
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, 5))


def _text(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int64)


def test_every_token_but_the_first_of_a_window_is_scored_and_the_short_last_window_apart() -> None:
    found = perplexity(Parity(), _text(0, 1, 1, 3, 2, 1, 4, 2), window=3)
    assert found.scored.tolist() == [2, 2, 1]
    assert found.nll == near([2 * ODD_NATS, EVEN_NATS + ODD_NATS, EVEN_NATS], rel=1e-6)
    assert found.value == near(math.exp((3 * ODD_NATS + EVEN_NATS) / 4), rel=1e-6)
    assert found.window_nats == near((ODD_NATS, (EVEN_NATS + ODD_NATS) / 2), rel=1e-6)
    assert found.describe() == (
        "4 tokens predicted in 2 windows of 3 (windows) of a text of 8 tokens, without the shorter rest at its end, "
        "computed in float32"
    )


def test_with_a_first_token_every_token_of_the_text_is_scored_once() -> None:
    model = Parity()
    found = perplexity(model, _text(1, 1, 2, 1), window=3, bos=4)
    assert model.seen == [[4, 1, 1], [4, 2, 1]]
    assert found.nll == near([2 * ODD_NATS, EVEN_NATS + ODD_NATS], rel=1e-6)
    assert (found.scored.sum(), found.protocol) == (4, "windows with bos")


def test_a_lone_last_token_predicts_nothing() -> None:
    assert perplexity(Parity(), _text(0, 1, 1, 1), window=3).scored.tolist() == [2]


def test_a_sample_is_spread_over_the_text_and_says_so() -> None:
    model = Parity()
    done: list[tuple[int, int]] = []
    text = _text(*[token for first in range(5) for token in (first, 1)])
    found = perplexity(model, text, window=2, max_windows=3, progress=lambda *at: done.append(at))
    assert [window[0] for window in model.seen] == [0, 2, 4]
    assert found.sampled and "a sample of 3 windows" in found.describe()
    assert done[-1] == (3, 3)


def test_the_error_is_that_of_the_mean_over_windows() -> None:
    """Means 1 and 3 nats: standard deviation sqrt(2), of their mean 1; the perplexity e**2 times that."""
    found = Perplexity(np.array([2.0, 6.0]), np.array([2, 2]), 3, 6, "windows")
    assert found.standard_error == near(math.exp(2.0))
    assert math.isnan(Perplexity(np.array([2.0]), np.array([2]), 3, 3, "windows").standard_error)


def test_the_sum_is_over_all_tokens_but_the_first() -> None:
    logits = torch.zeros(2, 3, 4)
    assert sum_nll(logits, torch.tensor([[0, 1, 2], [3, 3, 3]])) == near([2 * math.log(4)] * 2)


def test_the_window_is_the_models_length_at_most_2048() -> None:
    assert default_window(Parity()) == 2048
    assert default_window(SimpleNamespace(config=SimpleNamespace(n_positions=64))) == 64
    assert default_window(SimpleNamespace(config=SimpleNamespace())) == 2048
    roberta = SimpleNamespace(model_type="roberta", max_position_embeddings=514, pad_token_id=1)
    assert default_window(SimpleNamespace(config=roberta)) == 512


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ((1,), {}, r"^the text must have at least 2 tokens, not 1$"),
        ((1, 5), {}, r"^the tokens must be below the model's vocabulary of 5, not 5: the tokenizer belongs to another"),
        ((1, 1), {"window": 1}, r"^the window must be at least 2 tokens, not 1$"),
        ((1, 1, 1, 1), {"window": 2, "max_windows": 0}, r"^the number of windows must be at least 1, not 0$"),
    ],
)
def test_texts_and_windows_that_are_refused(text: tuple[int, ...], options: dict[str, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        perplexity(Parity(), _text(*text), **options)


# --- a table of logits: which windows are counted, what is said of them, and numbers that are none ---

VOCABULARY = 7
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, 45)


class Table(torch.nn.Module):
    """The logits of the next token depend on the last token only: one row of the table."""

    def __init__(self, factor: float = 1.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        rows = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(1)) * factor
        self.rows = torch.nn.Parameter(rows.to(dtype), False)
        self.config = SimpleNamespace(vocab_size=VOCABULARY, max_position_embeddings=10)

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.rows[input_ids])


def by_hand(windows: list[slice]) -> tuple[float, int]:
    """Perplexity over these windows of the text in plain loops, and the number of predicted tokens."""
    rows = torch.log_softmax(Table().rows.double(), 1).numpy()
    losses = [-rows[a, b] for part in windows for a, b in zip(TOKENS[part], TOKENS[part][1:], strict=False)]
    return float(np.exp(np.mean(losses))), len(losses)


def slices(*starts: int) -> list[slice]:
    return [slice(start, start + 10) for start in starts]


def counts(found: Perplexity) -> tuple[float, int]:
    return found.value, found.tokens_counted


def test_the_value_and_the_tokens_counted_are_those_of_the_full_windows() -> None:
    found = perplexity(Table(), TOKENS)
    assert counts(found) == (pytest.approx(by_hand(slices(0, 10, 20, 30))[0], rel=1e-6), 4 * 9)
    assert (found.scored.sum(), len(found.window_nats)) == (4 * 9 + 4, 4)
    assert found.describe() == (
        "36 tokens predicted in 4 windows of 10 (windows) of a text of 45 tokens, without the shorter rest at its end, "
        "computed in float32"
    )


@pytest.mark.parametrize(("limit", "starts"), [(1, (0,)), (2, (0, 30)), (3, (0, 20, 30)), (4, (0, 10, 20, 30))])
def test_a_sample_has_the_number_of_windows_that_it_says_and_no_shorter_one(limit: int, starts: tuple[int]) -> None:
    found = perplexity(Table(), TOKENS, max_windows=limit)
    assert counts(found) == (pytest.approx(by_hand(slices(*starts))[0], rel=1e-6), 9 * limit)
    assert found.scored.sum() == found.tokens_counted and len(found.nll) == limit
    assert found.sampled == (limit < 4)
    said = f"{9 * limit} tokens predicted in " + ("a sample of " if limit < 4 else "")
    assert found.describe().startswith(said + ("one window of 10" if limit == 1 else f"{limit} windows of 10"))


def test_a_text_shorter_than_the_window_says_so() -> None:
    found = perplexity(Table(), TOKENS[:6], max_windows=3)
    assert counts(found) == (pytest.approx(by_hand([slice(0, 6)])[0], rel=1e-6), 5)
    assert found.describe() == (
        "5 tokens predicted in one window of 6, as the text is shorter than 10 (windows) of a text of 6 tokens, "
        "computed in float32"
    )


def test_with_bos_the_first_tokens_of_windows_are_counted_too() -> None:
    found = perplexity(Table(), TOKENS, bos=3)
    assert (found.tokens_counted, found.scored.sum()) == (5 * 9, 5 * 9)
    assert "45 tokens predicted in 5 windows of 10 (windows with bos) of a text of 45 tokens, computed" in (
        found.describe()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_arithmetic_that_is_said_is_that_of_the_model(dtype: torch.dtype) -> None:
    assert perplexity(Table(dtype=dtype), TOKENS).describe().endswith(f", computed in {str(dtype)[6:]}")


def test_values_beyond_float16_are_an_error_that_names_the_arithmetic() -> None:
    said = r"computed in float16 it gives NaN or infinity in 4 of 5 windows: its values pass 65504, .*in float32$"
    table = Table(dtype=torch.float16)
    table.rows[int(TOKENS[44])] = 1.0  # the last window has finite rows only
    for token in {int(token) for token in TOKENS[:40]} - {int(token) for token in TOKENS[40:]}:
        table.rows[token] = torch.inf
    with pytest.raises(InputError, match=said):
        perplexity(table, TOKENS)


def test_an_error_in_the_code_of_the_model_is_one_sentence() -> None:
    class Broken(Parity):
        def forward(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
            raise AttributeError("'tuple' object has no attribute 'last_hidden_state'")

    said = r"the model \(Broken\) must compute the logits of its tokens in transformers, but: 'tuple' object has"
    with pytest.raises(InputError, match=said):
        perplexity(Broken(), _text(1, 2, 3))


def test_a_weight_that_is_no_number_is_an_error() -> None:
    table = Table()
    table.rows[int(TOKENS[0])] = torch.nan
    with pytest.raises(InputError, match=r"computed in float32 it gives NaN or infinity in .* a weight is damaged"):
        perplexity(table, TOKENS)


def test_a_loss_that_no_perplexity_can_hold_is_an_error() -> None:
    with pytest.raises(InputError, match=r"a mean loss of at most 700 nats, and its loss is \d"):
        perplexity(Table(factor=1e4), TOKENS)
