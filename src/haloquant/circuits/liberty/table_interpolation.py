"""The non-linear delay model (NLDM): tables over input slew and output load, read by bilinear interpolation.

Between grid points a value is interpolated linearly along both axes. Outside the grid the outermost segment is
continued, as signoff tools do; the Liberty User Guide leaves this open. Let (i, j) be the grid cell that contains
(x, y) or is nearest to it, u = (x - x_i) / (x_i+1 - x_i), and v the same for y:

    f(x, y) = (1-u)(1-v) f_ij + u(1-v) f_i+1,j + (1-u)v f_i,j+1 + uv f_i+1,j+1
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """A look-up table in SI units. An axis that the library leaves out has the single point 0.

    `rows` is the input slew in s; in a constraint, the slew of the related pin. `columns` is the output load in F; in a
    constraint, the slew of the constrained pin in s. `values` is in s (delay, slew, constraint) or J (internal power).
    """

    rows: Float64[np.ndarray, " r"]
    columns: Float64[np.ndarray, " c"]
    values: Float64[np.ndarray, "r c"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """The result of one table look-up, with all numbers that are needed to repeat it by hand."""

    value: float
    row: int  # index of the lower row of the grid cell
    column: int  # index of the lower column of the grid cell
    row_fraction: float  # u of the formula; below 0 or above 1 if the table was extrapolated
    column_fraction: float  # v of the formula
    corners: tuple[float, float, float, float]  # f_ij, f_i+1,j, f_i,j+1, f_i+1,j+1


def look_up(table: Table, x: float, y: float) -> Lookup:
    """Read a table at input slew `x` (s) and load `y` (F), in plain Python.

    Returns:
        The value, its grid cell, and the values at the cell's four corners.
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
    """Read a table at many points at once; `look_up` is the reference for one point."""
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
    """Return the index of the segment that gives the value at `x`, and the position of `x` in it as a fraction."""
    if len(axis) == 1:
        return 0, 0.0
    i = 0
    while i < len(axis) - 2 and x >= axis[i + 1]:
        i += 1
    return i, (x - float(axis[i])) / (float(axis[i + 1]) - float(axis[i]))
