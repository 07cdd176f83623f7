"""Divergence of predictions, by hand on a model whose predictions do not depend on the text."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from haloquant.errors import InputError
from haloquant.lm.evaluation import divergence
from haloquant.lm.evaluation.divergence import predictions, window_divergences
from support.near import near


class Constant(torch.nn.Module):
    """Predicts the same after every token, but another thing after token 1."""

    def __init__(self, after_any: list[float], after_one: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.log(torch.tensor([after_any, after_one])))
        self.config = SimpleNamespace(vocab_size=len(after_any), max_position_embeddings=4)

    def forward(self, input_ids: torch.Tensor, use_cache: bool) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits[(input_ids == 1).long()])


MODEL = Constant([0.5, 0.25, 0.25], [0.5, 0.25, 0.25])
TOKENS = np.array([0, 0, 0, 1, 1, 0, 2, 2, 0])


def test_divergence_by_hand() -> None:
    """0.5 log(0.5 / 0.25) + 0.25 log(0.25 / 0.5) = 0.25 log 2 after token 1, which the second window has once of three.

    The last token of a window predicts nothing: token 1 at the end of the first does not count.
    """
    known = predictions(MODEL, TOKENS)
    assert known.windows.tolist() == [[0, 0, 0, 1], [1, 0, 2, 2]]
    assert window_divergences(MODEL, known) == (0.0, 0.0)
    other = Constant([0.5, 0.25, 0.25], [0.25, 0.5, 0.25])
    assert window_divergences(other, known) == (0.0, near(0.25 * np.log(2) / 3, rel=1e-5))


def test_windows_are_few_enough_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Constant([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    whole = window_divergences(other, predictions(MODEL, TOKENS))
    monkeypatch.setattr(divergence, "MAX_LOGITS", 1)
    assert window_divergences(other, predictions(MODEL, TOKENS)) == whole
    assert predictions(MODEL, TOKENS, max_windows=1).windows.shape == (1, 4)
    monkeypatch.setattr(divergence, "MAX_KEPT", 1)
    assert predictions(MODEL, TOKENS).windows.shape == (1, 4)
    assert predictions(MODEL, TOKENS[:3]).windows.tolist() == [[0, 0, 0]]


def test_a_model_that_predicts_no_numbers_is_refused() -> None:
    broken = Constant([float("nan"), 0.5, 0.5], [0.5, 0.25, 0.25])
    with pytest.raises(InputError, match="gives NaN or infinity"):
        window_divergences(broken, predictions(MODEL, TOKENS))
