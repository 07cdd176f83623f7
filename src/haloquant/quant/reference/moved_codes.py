"""One pass of refinement over some columns of a weight: each weight moves once to the word of least loss."""

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from haloquant.quant.rounding.refinement import PRUNED


def move_codes(
    error: Float64[np.ndarray, "rows width"],
    hessian: Float64[np.ndarray, "width width"],
    words: list[Float64[np.ndarray, " _"]],
    scale: Float64[np.ndarray, " rows"],
    kept: UInt8[np.ndarray, "rows width"],
    step: Float64[np.ndarray, " rows"],
    codes: Int64[np.ndarray, "rows width"],
    values: Float64[np.ndarray, "rows width"],
) -> tuple[Int64[np.ndarray, "rows width"], Float64[np.ndarray, "rows width"]]:
    """Return codes and values after each weight was moved once, in the order of the columns.

    The loss of a row is e H e^T with its error e = w - q. It is computed anew for every candidate: every word, or for a
    sparse weight every of its 255 steps. The candidate of least loss is taken if it lowers the loss by more than a
    millionth of what moving alone would change.

    Args:
        error: w - q before.
        hessian: the damped Hessian of these columns.
        words: words of each row's class, ascending.
        scale: scale of each row; its weights stay where it is 0.
        kept: 1 at a sparse weight, `PRUNED` at one that stays 0, else 0.
        step: size of a step of each row's sparse weights; they stay where it is 0.
        codes: codes before; those of sparse weights stay.
        values: rounded weights q before.
    """
    codes, values, error = codes.copy(), values.copy(), error.copy()
    for row, column in np.ndindex(*values.shape):
        if kept[row, column] == PRUNED:
            continue
        sparse = bool(kept[row, column])
        candidates = step[row] * np.arange(-127.0, 128.0) if sparse else scale[row] * words[row]
        if not candidates.any():
            continue
        before, old = _loss(error[row], hessian), values[row, column]
        losses = np.empty(candidates.size)
        for index, candidate in enumerate(candidates):
            moved = error[row].copy()
            moved[column] += old - candidate
            losses[index] = _loss(moved, hessian)
        best = int(losses.argmin())
        delta = candidates[best] - old
        if losses[best] - before < -1e-6 * hessian[column, column] * delta**2:
            error[row, column] -= delta
            values[row, column] = candidates[best]
            if not sparse:
                codes[row, column] = best
    return codes, values


def _loss(error: Float64[np.ndarray, " width"], hessian: Float64[np.ndarray, "width width"]) -> float:
    return float(error @ hessian @ error)
