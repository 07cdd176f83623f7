"""Column-wise error compensation (GPTQ, arXiv 2210.17323) for uniform grids.

Round one input feature after the other; what the rounding lost is made good by the features not yet rounded, as far as
the Hessian H = (2/T) X X^T says they can. With H^-1 = U^T U, U upper triangular, the update of row w after column j is
w[j+1:] -= (w[j] - q) / U[j, j] * U[j, j+1:].
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Int16
from numba import njit
from scipy.linalg import get_lapack_funcs

from haloquant.errors import InfeasibleError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Columns:
    """How to round a run of columns: value = (q - zero) * scale, low <= q <= high; `keep` marks weights not rounded."""

    scale: Float32[np.ndarray, "rows width"]
    zero: Float32[np.ndarray, "rows width"]
    low: Float32[np.ndarray, " width"]
    high: Float32[np.ndarray, " width"]
    keep: Bool[np.ndarray, "rows width"]


Fit = Callable[[Float32[np.ndarray, "rows width"], int], Columns]


@dataclass(frozen=True)
class Factor:
    """U of H^-1 = U^T U, the features that never fire, and the damping that made H positive definite."""

    upper: Float32[np.ndarray, "in in"]
    dead: Bool[np.ndarray, " in"]
    damping: float


@dataclass(frozen=True)
class Compensated:
    """Signed levels (code minus zero point), what they mean, and which weights were kept (float16)."""

    levels: Int16[np.ndarray, "rows in"]
    values: Float32[np.ndarray, "rows in"]
    keep: Bool[np.ndarray, "rows in"]


def factorize(hessian: Float32[np.ndarray, "in in"], damping: float) -> Factor:
    """Damp a Hessian and factor its inverse.

    H = R R^T with R upper triangular is the Cholesky factorisation of H read from its far corner; then U = R^-1. This
    takes n^3/3 + n^3/3 multiplications in float64, where inverting first and factoring then takes n^3 + n^3/3.

    Args:
        hessian: symmetric, positive semidefinite.
        damping: fraction of the mean diagonal of the live features that is added to the diagonal. Raised tenfold, up to
            four times, where the factorisation fails.

    Returns:
        Factor: with the damping that was used.

    Raises:
        InfeasibleError: no damping up to 10 000 times the asked one makes the matrix positive definite.
    """
    potrf, trtri = get_lapack_funcs(("potrf", "trtri"), dtype=np.float64)
    diagonal = np.diag(hessian).astype(np.float64)
    dead = diagonal <= 0
    mean = float(diagonal[~dead].mean()) if not dead.all() else 1.0
    diagonal[dead] = mean
    for used in [damping, *(max(damping, 1e-6) * 10.0**n for n in range(1, 5))]:
        work = np.array(hessian[::-1, ::-1], np.float64, order="F")
        work[dead[::-1], :] = 0
        work[:, dead[::-1]] = 0
        np.fill_diagonal(work, diagonal[::-1] + used * mean)
        lower, failed = potrf(work, lower=1, clean=1, overwrite_a=1)
        if not failed:
            inverse, failed = trtri(lower, lower=1, overwrite_c=1)
            if not failed:
                return Factor(np.ascontiguousarray(inverse[::-1, ::-1], np.float32), dead, used)
    raise InfeasibleError(
        f"the Hessian must become positive definite with damping up to {max(damping, 1e-6) * 1e4:g} of its mean "
        "diagonal, but did not; calibrate on more tokens or in float32"
    )


def block_of(group: int) -> int:
    """Columns whose updates are gathered into one matrix product: whole groups, about 128."""
    if group <= 128:
        return group * (128 // group)
    return 128 if group % 128 == 0 else group


def compensate(
    weight: Float32[np.ndarray, "rows in"],
    factor: Float32[np.ndarray, "in in"],
    fit: Fit,
    group: int,
    progress: Progress | None = None,
) -> Compensated:
    """Round the columns from left to right, each group's grid fitted to the weights as they are when it begins.

    Args:
        weight: [rows, in], in the order in which the columns are to be rounded.
        factor: U, in the same order.
        fit: gives the grid of one group from its current weights and the index of its first column.
        group: columns a grid.
        progress: called with (columns done, columns).

    Returns:
        Compensated: in the order of the columns given.
    """
    work = np.array(weight, np.float32)
    rows, count = work.shape
    levels, values = np.empty((rows, count), np.int16), np.empty((rows, count), np.float32)
    keep = np.zeros((rows, count), bool)
    block = block_of(group)
    first, grid = 0, fit(work[:, :group], 0)
    for start in range(0, count, block):
        stop = min(start + block, count)
        errors = np.empty((rows, stop - start), np.float32)
        current = np.ascontiguousarray(work[:, start:stop])
        for left in range(start, stop, min(group, block)):
            if left % group == 0 and left > 0:
                ahead = (
                    current[:, left - start : left - start + group] if group < block else work[:, left : left + group]
                )
                first, grid = left, fit(ahead, left)
            right = min(left + min(group, block), stop)
            part, here = slice(left - first, right - first), slice(left - start, right - start)
            levels[:, left:right], values[:, left:right], errors[:, here] = _round_columns(
                np.ascontiguousarray(current[:, here]),
                np.ascontiguousarray(factor[left:right, left:right]),
                np.ascontiguousarray(grid.scale[:, part]),
                np.ascontiguousarray(grid.zero[:, part]),
                grid.low[part],
                grid.high[part],
                np.ascontiguousarray(grid.keep[:, part]),
            )
            keep[:, left:right] = grid.keep[:, part]
            if right < stop:
                current[:, right - start :] -= errors[:, here] @ factor[left:right, right:stop]
        if stop < count:
            work[:, stop:] -= errors @ factor[start:stop, stop:]
        if progress is not None:
            progress(stop, count)
    return Compensated(levels, values, keep)


@njit(cache=True, error_model="numpy")
@no_type_check
def _round_columns(work, factor, scale, zero, low, high, keep):
    rows, count = work.shape
    levels = np.zeros((rows, count), np.int16)
    values = np.empty((rows, count), np.float32)
    errors = np.empty((rows, count), np.float32)
    for r in range(rows):
        row = work[r]
        for j in range(count):
            w = row[j]
            if keep[r, j]:
                value = w
            else:
                code = min(max(np.rint(w / scale[r, j]) + zero[r, j], low[j]), high[j]) - zero[r, j]
                levels[r, j] = np.int16(code)
                value = code * scale[r, j]
            values[r, j] = value
            error = (w - value) / factor[j, j]
            errors[r, j] = error
            for k in range(j + 1, count):
                row[k] -= error * factor[j, k]
    return levels, values, errors
