"""Windows, samples and errors of a perplexity, on a model whose probabilities are known."""

import math
from types import SimpleNamespace

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
    assert found.value_whole_text == near(math.exp((3 * ODD_NATS + 2 * EVEN_NATS) / 5), rel=1e-6)
    assert found.window_nats == near((ODD_NATS, (EVEN_NATS + ODD_NATS) / 2), rel=1e-6)
    assert found.describe() == "5 tokens predicted in 3 windows of 3 (windows) of a text of 8 tokens"


def test_with_a_first_token_every_token_of_the_text_is_scored_once() -> None:
    model = Parity()
    found = perplexity(model, _text(1, 1, 2, 1), window=3, bos=4)
    assert model.seen == [[4, 1, 1], [4, 2, 1]]
    assert found.nll == near([2 * ODD_NATS, EVEN_NATS + ODD_NATS], rel=1e-6)
    assert (found.tokens_scored, found.protocol) == (4, "windows with bos")


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
