"""Uniform grids by hand."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rounding.uniform_grid import GridSpec, fit, round_to_grid, stored_scale, table


def test_an_asymmetric_group_by_hand() -> None:
    # The range is [-1, 2] in 2 bits: scale 1, zero point 1, values -1, 0, 1, 2.
    weight = np.array([[-1.0, 0.6, 2.0, 0.0]], np.float32)
    grid = fit(weight, GridSpec(2, None))
    assert grid.scale.tolist() == [[1.0]]
    assert grid.zero.tolist() == [[1.0]]
    assert table(grid).tolist() == [[[-1, 0, 1, 2]]]
    value, level = round_to_grid(weight, GridSpec(2, None))
    assert value.tolist() == [[-1, 1, 2, 0]]
    assert level.tolist() == [[-1, 1, 2, 0]]


def test_stored_scales() -> None:
    assert stored_scale(np.array([0.0, 1e-12, 0.5], np.float32)).tolist() == [1.0, 2.0**-24, 0.5]
    with pytest.raises(InputError, match="scales must be at most 65504, the largest float16, not 70000"):
        stored_scale(np.array([70000.0], np.float32))


def test_groups_of_a_row_that_is_no_multiple() -> None:
    spec = GridSpec(4, 128)
    assert (spec.groups(300), spec.width(300), spec.width(100)) == (3, 128, 100)
    assert spec.bits_per_group == 20
    assert GridSpec(4, None, "symmetric").bits_per_group == 16
