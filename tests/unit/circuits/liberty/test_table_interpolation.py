"""Table look-up: by hand, at and beyond the edges, and the fast reading against the slow one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haloquant.circuits.liberty.table_interpolation import Table, interpolate, look_up
from support.near import near

TABLE = Table(np.array([1.0, 3.0, 4.0]), np.array([10.0, 30.0]), np.array([[1.0, 2.0], [3.0, 8.0], [5.0, 6.0]]))


@pytest.mark.parametrize(
    ("x", "y", "value"),
    [
        (1.0, 10.0, 1.0),
        (4.0, 30.0, 6.0),
        (2.0, 20.0, 3.5),  # the mean of 1, 3, 2, 8
        (0.0, 10.0, 0.0),  # one below 1 at a slope of (3 - 1) / 2
        (5.0, 10.0, 7.0),  # one above 5 at a slope of 2
        (3.0, 0.0, 0.5),  # the column's slope of 5 / 20 continued by 10
        (3.0, 50.0, 13.0),
    ],
)
def test_by_hand(x: float, y: float, value: float):
    assert look_up(TABLE, x, y).value == near(value)


def test_an_axis_of_one_point_has_no_influence():
    assert look_up(Table(np.zeros(1), np.zeros(1), np.array([[7.0]])), 3.0, 4.0).value == 7.0
    column = Table(np.array([1.0, 2.0]), np.zeros(1), np.array([[1.0], [5.0]]))
    assert look_up(column, 1.5, 99.0).value == 3.0


@given(
    st.lists(st.floats(0.01, 2.0), min_size=1, max_size=5),
    st.lists(st.floats(0.01, 2.0), min_size=1, max_size=5),
    st.integers(0, 2**31),
)
def test_many_points_at_once_as_one_by_one(row_steps: list[float], column_steps: list[float], seed: int):
    rng = np.random.default_rng(seed)
    rows, columns = np.cumsum(row_steps), np.cumsum(column_steps)
    table = Table(rows, columns, rng.normal(size=(len(rows), len(columns))))
    x, y = rng.uniform(-1, rows[-1] + 1, 20), rng.uniform(-1, columns[-1] + 1, 20)
    x[:3], y[:3] = rows[0], columns[-1]
    slow = [look_up(table, float(a), float(b)).value for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(interpolate(table, x, y), slow, rtol=1e-9, atol=1e-9)
