"""Sums over calibration inputs: which layers share them, and values that are no numbers."""

import numpy as np
import pytest
import torch

from haloquant.errors import InputError
from haloquant.lm.calibration.hessian import Recorder, to_statistics

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def record(*inputs: tuple[str, torch.Tensor]) -> Recorder:
    recorder = Recorder(tuple(layer for layer, _ in inputs), with_gram=True)
    for layer, x in inputs:
        recorder.add_input(layer, x)
    return recorder


def test_layers_that_read_one_tensor_share_a_sum() -> None:
    recorder = record(("q", X), ("k", X), ("v", X.clone()))
    assert recorder.inputs["q"] is recorder.inputs["k"] is not recorder.inputs["v"]
    known = to_statistics(recorder, "x", 1)
    assert known["q"].hessian is known["k"].hessian
    for name in ("q", "v"):
        np.testing.assert_allclose(np.asarray(known[name].hessian), (2 / 5 * X.T @ X).numpy(), rtol=1e-6)


def test_a_tensor_that_was_changed_in_place_between_two_layers_is_summed_again() -> None:
    x = X.clone()
    recorder = Recorder(("gate", "up"), with_gram=True)
    recorder.add_input("gate", x)
    x.mul_(3)
    recorder.add_input("up", x)
    known = to_statistics(recorder, "x", 1)
    np.testing.assert_allclose(np.asarray(known["up"].hessian), 9 * np.asarray(known["gate"].hessian), rtol=1e-5)
    assert recorder.inputs["gate"].tokens == recorder.inputs["up"].tokens == 5


@pytest.mark.parametrize("twice", ["q", "k", "v"])
def test_a_layer_that_reads_another_tensor_too_leaves_the_sum_of_the_others(twice: str) -> None:
    recorder, y = Recorder(("q", "k", "v"), with_gram=True), 2 * X[:2]
    for _ in range(2):
        for layer in ("q", "k", "v"):
            recorder.add_input(layer, X)
        recorder.add_input(twice, y)
        recorder.forget_last()
    known = to_statistics(recorder, "x", 1)
    for layer in ("q", "k", "v"):
        x = torch.cat([X, y]) if layer == twice else X
        assert known[layer].tokens == 2 * len(x)
        np.testing.assert_allclose(np.asarray(known[layer].hessian), (2 / len(x) * x.T @ x).numpy(), rtol=1e-5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e20])
def test_inputs_that_are_no_numbers_or_whose_squares_are_none_are_an_error(value: float) -> None:
    x = X.clone()
    x[2, 1] = value
    with pytest.raises(InputError, match=r"the inputs of bad must be finite while the model reads the calibration"):
        to_statistics(record(("good", X), ("bad", x)), "x", 1)


def test_gradients_that_are_no_numbers_are_an_error() -> None:
    recorder = record(("q", X), ("k", X))
    recorder.squares = {"q": torch.ones(2, 3), "k": torch.tensor([[1.0, torch.inf, 2.0]])}
    with pytest.raises(InputError, match=r"the gradients of k must be finite"):
        to_statistics(recorder, "x", 1)
