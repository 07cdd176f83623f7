"""Non-linear delay model: two-way tables over input slew and output load, read by bilinear interpolation.

Between grid points a value is interpolated linearly along both axes; outside the grid the outermost segment is
continued (as every signoff tool does; the Liberty User Guide leaves it open). With the cell (i, j) that holds or is
nearest to (x, y), and u = (x - x_i) / (x_i+1 - x_i), v likewise:

    f(x, y) = (1-u)(1-v) f_ij + u(1-v) f_i+1,j + (1-u)v f_i,j+1 + uv f_i+1,j+1
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A table in SI units. An axis that the library leaves out has the single point 0.

    `rows` is the input slew in s (of the related pin, in a constraint); `columns` the output load in F (or the
    constrained pin's slew in s); `values` is in s (delay, slew, constraint) or J (internal power).
    """

    rows: Float64[np.ndarray, " r"]
    columns: Float64[np.ndarray, " c"]
    values: Float64[np.ndarray, "r c"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """One reading of a table, with all that is needed to redo it by hand."""

    value: float
    row: int  # index of the lower row, and of the lower column
    column: int
    row_fraction: float  # u and v of the formula; below 0 or above 1 where the table was extrapolated
    column_fraction: float
    corners: tuple[float, float, float, float]  # f_ij, f_i+1,j, f_i,j+1, f_i+1,j+1


def look_up(table: Table, x: float, y: float) -> Lookup:
    """Read a table at input slew `x` (s) and load `y` (F), in plain arithmetic.

    Returns:
        The value, the grid cell it was read from and its four corners.
    """
    i, u = _segment(table.rows, x)
    j, v = _segment(table.columns, y)
    i1, j1 = min(i + 1, len(table.rows) - 1), min(j + 1, len(table.columns) - 1)
    f = (
        float(table.values[i, j]),
        float(table.values[i1, j]),
        float(table.values[i, j1]),
        float(table.values[i1, j1]),
    )
    value = (1 - u) * (1 - v) * f[0] + u * (1 - v) * f[1] + (1 - u) * v * f[2] + u * v * f[3]
    return Lookup(value, i, j, u, v, f)


def interpolate(
    table: Table, x: Float64[np.ndarray, "*points"], y: Float64[np.ndarray, "*points"]
) -> Float64[np.ndarray, "*points"]:
    """Read a table at many points at once; `look_up` is its slow twin."""
    i, u = _segments(table.rows, x)
    j, v = _segments(table.columns, y)
    i1, j1 = np.minimum(i + 1, len(table.rows) - 1), np.minimum(j + 1, len(table.columns) - 1)
    f = table.values
    return (1 - u) * ((1 - v) * f[i, j] + v * f[i, j1]) + u * ((1 - v) * f[i1, j] + v * f[i1, j1])


def _segments(
    axis: Float64[np.ndarray, " n"], x: Float64[np.ndarray, "*points"]
) -> tuple[Int64[np.ndarray, "*points"], Float64[np.ndarray, "*points"]]:
    if len(axis) == 1:
        return np.zeros(x.shape, np.int64), np.zeros(x.shape)
    i = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, len(axis) - 2)
    return i, (x - axis[i]) / (axis[i + 1] - axis[i])


def _segment(axis: Float64[np.ndarray, " n"], x: float) -> tuple[int, float]:
    """The segment whose continuation gives the value at `x`, and where in it `x` lies."""
    if len(axis) == 1:
        return 0, 0.0
    i = 0
    while i < len(axis) - 2 and x >= axis[i + 1]:
        i += 1
    return i, (x - float(axis[i])) / (float(axis[i + 1]) - float(axis[i]))
