"""Rounded inputs of linear layers by hand, and layers that take their own inputs again after it."""

import numpy as np
import pytest
import torch

from haloquant.errors import InputError
from haloquant.lm.evaluation.rounded_activations import (
    activations_per_tensor,
    activations_per_token,
    quantize_per_tensor,
    quantize_per_token,
)
from haloquant.records import LayerStatistics


def _model() -> torch.nn.Module:
    """Two layers that pass their input on, so that the output is the rounded input."""
    layers = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.eye(3))
    return torch.nn.ModuleDict({"layers": layers})


def _through(model: torch.nn.Module, x: torch.Tensor) -> list[float]:
    with torch.no_grad():
        return model.get_submodule("layers")(x).tolist()


def test_each_token_has_the_scale_of_its_largest() -> None:
    """Three bits: -3 to 3 steps. The second token is ten times the first; zeros stay zeros."""
    x = torch.tensor([[3.0, -1.4, 0.6], [30.0, -14.0, 6.0], [0.0, 0.0, 0.0]])
    assert quantize_per_token(x, 3).tolist() == [[3, -1, 1], [30, -10, 10], [0, 0, 0]]


def test_one_scale_for_all_clips_what_is_larger_than_calibration_saw() -> None:
    x = torch.tensor([[3.0, -1.4, 0.6], [30.0, -14.0, 6.0]])
    assert quantize_per_tensor(x, 6.0, 3).tolist() == [[4, -2, 0], [6, -6, 6]]
    assert quantize_per_tensor(x, 0.0, 3).tolist() == [[3, -1, 1], [3, -3, 3]]


def test_only_the_named_layers_round_and_only_within_the_block() -> None:
    model, x = _model(), torch.tensor([3.0, -1.4, 0.6])
    with activations_per_token(model, ["layers.1"], bits=3):
        assert _through(model, x) == [3, -1, 1]
    assert _through(model, x) == x.tolist()
    with pytest.raises(KeyError), activations_per_token(model, ["layers.0"], bits=3):
        raise KeyError
    assert _through(model, x) == x.tolist()


def test_the_input_of_a_transform_is_rounded_in_its_own_scale() -> None:
    """x / s = 3, 1, -1 is exact in three bits, and x itself is not: its step is 1 and 0.5 rounds to 0."""
    model, x = _model(), torch.tensor([3.0, 0.5, -0.25])
    scale = {"layers.0": np.array([1.0, 0.5, 0.25], np.float32)}
    with activations_per_token(model, ["layers.0"], 3, scale):
        assert _through(model, x) == [3, 0.5, -0.25]
    with activations_per_token(model, ["layers.0"], 3):
        assert _through(model, x) == [3, 0, 0]


def test_calibrated_maxima_are_divided_by_a_transform_too() -> None:
    """Maxima 6 and 1 over s = 2 and 1 leave 3 as the largest: steps of 1."""
    model, x = _model(), torch.tensor([8.0, 1.4, 0.0])
    known = {"layers.0": LayerStatistics("layers.0", 1, input_absmax=np.array([6, 1, 1], np.float32))}
    scale = {"layers.0": np.array([2.0, 1.0, 1.0], np.float32)}
    with activations_per_tensor(model, known, 3, scale):
        assert _through(model, x) == [6, 1, 0]
    with activations_per_tensor(model, known, 3):
        assert _through(model, x) == [6, 2, 0]


@pytest.mark.parametrize("bits", [1, 17])
def test_bits_that_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match=rf"^activations must have 2 to 16 bits, not {bits}$"):
        quantize_per_token(torch.ones(3), bits)


def test_layers_without_a_maximum_are_refused() -> None:
    with (
        pytest.raises(InputError, match=r"^static activation scales need the calibrated maxima of layers\.0, but it"),
        activations_per_tensor(_model(), {"layers.0": LayerStatistics("layers.0", 0)}),
    ):
        pytest.fail("the block was entered")
