"""The layer Hessian: checks, damping and losses, by hand."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.hessian import damped, hessian_importance, layer_hessian, output_loss
from haloquant.records import LayerStatistics


def test_damping_by_hand() -> None:
    matrix = np.array([[1, 5], [5, 3]], np.float32)
    assert damped(matrix, 0.5).tolist() == [[2, 5], [5, 4]]  # the mean diagonal is 2
    assert damped(np.zeros((2, 2), np.float32), 0.5).tolist() == [[0.5, 0], [0, 0.5]]
    assert matrix.tolist() == [[1, 5], [5, 3]]


def test_output_loss_by_hand() -> None:
    # [1, 2] H [1, 2]^T = 1 + 2 * 2 * 5 + 4 * 3 = 33; [0, 1] gives 3.
    assert output_loss(np.array([[1, 2], [0, 1]], np.float32), np.array([[1, 5], [5, 3]], np.float32)) == 36


def test_importance_is_the_diagonal() -> None:
    statistics = LayerStatistics("layer", 1, hessian=np.array([[1, 5], [5, 3]], np.float32))
    assert hessian_importance(statistics).tolist() == [[1, 3]]
    assert layer_hessian(statistics, 2, method="a test") is statistics.hessian


def test_refusals() -> None:
    with pytest.raises(InputError) as caught:
        hessian_importance(LayerStatistics("layer", 0))
    assert str(caught.value) == (
        "layer 'layer': importance by layer inputs needs the layer Hessian, not statistics from 'none'; collect "
        "calibration with Hessians, or choose a data-free method such as rounding to nearest"
    )
    square = LayerStatistics("layer", 1, hessian=np.full((2, 2), np.nan, np.float32))
    with pytest.raises(InputError, match="the Hessian must be 3 x 3, not 2 x 2; the statistics belong to another lay"):
        layer_hessian(square, 3, method="a test")
    with pytest.raises(InputError, match="the Hessian must be finite, not NaN or infinite; calibrate in float32"):
        layer_hessian(square, 2, method="a test")
