"""Inputs that are left out, by hand, and layers that take all their inputs again after it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from haloquant.errors import InputError
from haloquant.kernels.fallback import masked_inputs
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
from haloquant.quant.input_sparsity.scores import InputMask


class _Model(torch.nn.Module):
    """Two layers that pass their inputs on. The first token's id says by how much a window's inputs are multiplied."""

    def __init__(self, flat: bool = False, left_out: int = 0) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
        with torch.no_grad():
            for layer in self.layers:
                layer.weight.copy_(torch.eye(3))
        self.flat, self.left_out = flat, left_out

    def forward(self, input_ids: torch.Tensor, x: torch.Tensor) -> SimpleNamespace:
        rows = x.flatten(0, 1)[self.left_out :] if self.flat else x
        return SimpleNamespace(y=self.layers(rows).reshape(rows.shape))


# Norms 1, 1/2 and 1/4, threshold 1: inputs above 1, 2 and 4 are kept.
MASK = {"layers.0": InputMask(np.array([1, 0.5, 0.25], np.float16), 1.0, 0.5)}
X = torch.tensor([[[1.5, 1.5, 1.5], [-3.0, -3.0, -3.0], [1.0, 2.0, 4.0], [9.0, -9.0, 9.0]]])
IDS = torch.zeros(1, 4, dtype=torch.int64)


def _through(model: _Model) -> list[list[float]]:
    with torch.no_grad():
        return model(input_ids=IDS, x=X).y.reshape(4, 3).tolist()


def test_only_inputs_with_a_score_above_the_threshold_are_kept_and_only_within_the_block() -> None:
    model = _Model()
    with sparse_inputs(model, MASK) as counts:
        assert _through(model) == [[1.5, 0, 0], [-3, -3, 0], [0, 0, 0], [9, -9, 9]]
    assert counts.density("layers.0") == 6 / 12
    assert counts.density("layers.1") == 1
    assert _through(model) == X[0].tolist()


@pytest.mark.parametrize("flat", [False, True])
def test_the_first_tokens_of_a_window_stay_dense(flat: bool) -> None:
    """Also where a model flattens its windows, as OPT does before its feed-forward layers."""
    model = _Model(flat)
    with sparse_inputs(model, MASK, 0.5) as counts:
        assert _through(model) == [[1.5] * 3, [-3] * 3, [0, 0, 0], [9, -9, 9]]
    assert counts.density("layers.0") == 3 / 6


def test_tokens_in_another_order_cannot_stay_dense() -> None:
    model = _Model(flat=True, left_out=1)
    with sparse_inputs(model, MASK, 0.5), pytest.raises(InputError, match="must be 0 for a model with experts"):
        model(input_ids=IDS, x=X)


def test_inputs_are_left_out_before_they_are_rounded() -> None:
    """In three bits 3 2 4 has steps of 4/3 and gives 2.67 2.67 4; without the input of 4 the step is 1."""
    model, mask = _Model(), {"layers.0": InputMask(np.array([1, 1, 0.25], np.float16), 1.0, 0.5)}
    with sparse_inputs(model, mask), activations_per_token(model, ["layers.0"], 3), torch.no_grad():
        y = model(input_ids=IDS[:, :1], x=torch.tensor([[[3.0, 2.0, 4.0]]])).y
    assert y[0].tolist() == [[3, 2, 0]]


def test_a_nan_is_not_hidden_and_types_stay() -> None:
    x = torch.tensor([float("nan"), float("inf"), 0.5], dtype=torch.bfloat16)
    found = masked_inputs(x, torch.ones(3), 1.0)
    assert found.dtype == torch.bfloat16
    assert torch.isnan(found[0]) and torch.isinf(found[1]) and found[2] == 0
