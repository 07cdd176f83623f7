"""Column-wise error compensation: GPTQ's order and result, computed from one Cholesky factor (Babai's nearest plane).

Rounding a row w to q costs (w - q) H (w - q)^T. With H = R R^T, R upper triangular, this is the sum over columns j of
R_jj^2 (t_j - q_j)^2, where the target t_j = w_j + sum over i < j of (w_i - q_i) R_ij / R_jj depends only on columns
that are already rounded. So each column in turn rounds its target to nearest. GPTQ (arXiv 2210.17323) does the same
with the Cholesky factor of H^-1, which is R^-1. This form needs one factorization instead of three, and it gives the
loss of every column without further work. The tests compare it with GPTQ as published.

A function gives the allowed values of a block of columns, as ascending levels per output channel. So any grid is
possible: codebooks of tiles, integers with scale and zero point, k-means tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numba import njit, prange
from scipy.linalg import LinAlgError, solve_triangular

from haloquant.errors import InputError
from haloquant.quant.rounding.linear_algebra import product, upper_factor

# Called with (index of the block, its columns, a function that returns its updated weights [out, columns]); returns
# ascending levels [out, groups, most], padded with +inf.
Levels = Callable[[int, np.ndarray, Callable[[], np.ndarray]], np.ndarray]
Progress = Callable[[int, int], None]  # called with (finished, total)


@dataclass(frozen=True)
class Factor:
    """The damped Hessian as R R^T, R upper triangular, rows and columns in the order of processing.

    Attributes:
        blocks: the columns of each block, in order of processing.
        unit: R with column j divided by R_jj.
        diagonal: R_jj. R_jj^-2 is GPTQ's [H^-1]_jj over the columns that are not yet processed.
        damping: share of the mean diagonal that was added to the diagonal of H.
    """

    blocks: tuple[Int64[np.ndarray, " _"], ...]
    unit: Float32[np.ndarray, "in in"]
    diagonal: Float32[np.ndarray, " in"]
    damping: float


@dataclass(frozen=True)
class Compensated:
    """Result of compensation.

    Attributes:
        codes: index of each weight's level.
        values: the level itself.
        loss: damped Hessian loss of every output channel in every block.
        kept: weights that were not rounded to the levels; None if there was neither a mask nor a limit.
    """

    codes: UInt8[np.ndarray, "out in"]
    values: Float32[np.ndarray, "out in"]
    loss: Float64[np.ndarray, "out blocks"]
    kept: Bool[np.ndarray, "out in"] | None = None


def split_blocks(order: Int64[np.ndarray, " in"], length: int) -> tuple[Int64[np.ndarray, " _"], ...]:
    """Cut an order of columns into blocks of `length`; the last may be shorter."""
    return tuple(order[low : low + length] for low in range(0, order.size, length))


def natural_order(in_features: int, length: int) -> tuple[Int64[np.ndarray, " _"], ...]:
    """Return blocks of `length` columns from the first column to the last."""
    return split_blocks(np.arange(in_features), length)


def activation_order(diagonal: Float32[np.ndarray, " in"], length: int) -> tuple[Int64[np.ndarray, " _"], ...]:
    """Return blocks of columns by falling Hessian diagonal, independent of their tiles (GPTQ's activation order).

    Only the order of rounding changes; codes stay at their places. The scales of tiles must be fixed before, because
    the columns of one tile are rounded in different blocks.
    """
    return split_blocks(np.argsort(-diagonal, kind="stable"), length)


def activation_order_by_tile(diagonal: Float32[np.ndarray, " in"], length: int) -> tuple[Int64[np.ndarray, " _"], ...]:
    """Return tiles by falling mean of the Hessian diagonal; inside each tile, columns by falling Hessian diagonal."""
    tiles = natural_order(diagonal.size, length)
    order = sorted(range(len(tiles)), key=lambda a: (-float(diagonal[tiles[a]].mean(dtype=np.float64)), a))
    return tuple(tiles[a][np.argsort(-diagonal[tiles[a]], kind="stable")] for a in order)


def factorize(
    hessian: Float32[np.ndarray, "in in"],
    blocks: Sequence[np.ndarray],
    *,
    damping: float = 0.01,
    layer: str = "layer",
) -> Factor:
    """Return the Cholesky factor of H + damping mean(diag H) I, in the order of the blocks.

    If this matrix is not positive definite in float32 (inputs that are always 0, or linearly dependent inputs), the
    damping is raised tenfold until it is. `Factor.damping` holds the value that was used. A column whose input is
    always 0 is coupled to no other column, so it is rounded to nearest.

    Args:
        hessian: (2/T) X X^T, symmetric.
        blocks: every column once, in order of processing.
        damping: share of the mean diagonal that is added to the diagonal.
        layer: name of the layer in error messages.

    Raises:
        InputError: The Hessian is not finite, or is indefinite with every damping up to 10; or the blocks do not hold
            every column once.
    """
    order = np.concatenate(blocks).astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(hessian.shape[0])):
        raise InputError(f"column blocks of {layer} must hold every one of {hessian.shape[0]} inputs once")
    trace = float(np.trace(hessian, dtype=np.float64))
    if not np.isfinite(hessian.sum(dtype=np.float64)) or trace < 0:
        raise InputError(f"Hessian of {layer} must be finite and not negative, and is not: calibrate in float32")
    if not damping > 0:
        raise InputError(f"damping of {layer} must be positive, not {damping}")
    mean = trace / order.size or 1.0
    damped = np.array(hessian[np.ix_(order, order)], np.float32)
    undamped = np.diagonal(damped).copy()
    share = damping
    while share <= 10:
        np.fill_diagonal(damped, undamped + np.float32(share * mean))
        try:
            upper = upper_factor(damped)
        except LinAlgError:
            share *= 10
            continue
        diagonal = np.diagonal(upper).copy()
        upper /= diagonal[None, :]
        return Factor(tuple(np.asarray(block, np.int64) for block in blocks), upper, diagonal, share)
    raise InputError(
        f"Hessian of {layer} must be positive definite, and is not even if 10 times its mean diagonal is added"
    )


def compensate(
    weight: Float32[np.ndarray, "out in"],
    factor: Factor,
    levels: Levels,
    *,
    groups: Int64[np.ndarray, " in"] | None = None,
    keep: Bool[np.ndarray, "out in"] | None = None,
    keep_step: Float32[np.ndarray, " out"] | None = None,
    keep_above: float | None = None,
    zero: Bool[np.ndarray, "out in"] | None = None,
    progress: Progress | None = None,
) -> Compensated:
    """Round a weight column by column; each column compensates the errors of the columns before it.

    Args:
        weight: [out, in].
        factor: factor of the layer's Hessian; its blocks give the order.
        levels: returns the values that each output channel may use in a block, in one or more tables. It is called
            once per block, before any column of the block is rounded. The function that it is given returns the
            weights of the block as GPTQ has updated them then (`updated_weights`), to which a grid can be fitted.
        groups: the table that each input column uses. Default: the first table.
        keep: mask of weights that are not rounded to the levels (the sparse part). The mask of a block is read after
            its `levels` call, so that `levels` may still change it.
        keep_step: kept weights are rounded to -127..127 steps of this size per output channel. A step of 0 keeps the
            target exactly. Default: 0.
        keep_above: a weight whose rounding would cost more than this, R_jj^2 (t_j - q_j)^2, is kept too, as in `keep`.
            Default: none.
        zero: mask of weights that are rounded to the level nearest to 0, whatever their target is. The other weights
            make good what this costs.
        progress: called with (finished blocks, blocks).

    Returns:
        Codes and values in the column order of `weight`, and the losses. The code of a kept weight is 0.
    """
    out_features, in_features = weight.shape
    errors = np.zeros((out_features, in_features), np.float32)
    codes = np.zeros(weight.shape, np.uint8)
    values = np.empty(weight.shape, np.float32)
    loss = np.zeros((out_features, len(factor.blocks)))
    step = np.zeros(out_features, np.float32) if keep_step is None else keep_step
    places = np.zeros(in_features, np.int64) if groups is None else groups
    limit = np.float32(np.inf if keep_above is None else keep_above)
    found = None if keep is None and keep_above is None else np.zeros(weight.shape, bool)
    low = 0
    for index, columns in enumerate(factor.blocks):
        high = low + columns.size
        original = np.ascontiguousarray(weight[:, columns])
        target = original + product(errors[:, :low], factor.unit[:low, low:high]) if low else original.copy()
        unit = np.ascontiguousarray(factor.unit[low:high, low:high])
        shown = partial(updated_weights, original, target, unit)
        table = np.ascontiguousarray(levels(index, columns, shown), dtype=np.float32)
        kept = np.zeros((1, 1) if found is None else original.shape, bool)
        if keep is not None:
            kept[:] = keep[:, columns]
        pruned = np.zeros((1, 1), bool) if zero is None else np.ascontiguousarray(zero[:, columns])
        block_codes, block_values = np.zeros(original.shape, np.uint8), np.empty_like(original)
        _round_block(
            original,
            target,
            unit,
            factor.diagonal[low:high],
            table,
            places[columns],
            kept,
            pruned,
            step,
            limit,
            block_codes,
            block_values,
            errors[:, low:high],
            loss[:, index],
        )
        codes[:, columns] = block_codes
        values[:, columns] = block_values
        if found is not None:
            found[:, columns] = kept
        low = high
        if progress is not None:
            progress(index + 1, len(factor.blocks))
    return Compensated(codes, values, loss, found)


def updated_weights(
    original: Float32[np.ndarray, "out width"],
    target: Float32[np.ndarray, "out width"],
    unit: Float32[np.ndarray, "width width"],
) -> Float32[np.ndarray, "out width"]:
    """Return the weights of a block that make good the errors of the blocks before it, if none of them is rounded.

    GPTQ has updated the block to these weights when its turn comes. They differ from the targets, which are for columns
    whose earlier columns in the block stay as they were: with the factor U of the block, w' = w + (t - w) U^-1.

    Args:
        original: the weights before any rounding.
        target: the targets at the beginning of the block.
        unit: the block of the factor, with ones on its diagonal.
    """
    change = solve_triangular(unit, (target - original).T, trans=1, lower=False, unit_diagonal=True)
    return np.ascontiguousarray(original + change.T, np.float32)


@njit(parallel=True, cache=True, fastmath={"contract"})
@no_type_check
def _round_block(original, target, unit, diagonal, table, places, kept, zero, step, limit, codes, values, errors, loss):
    """Round one block: in every row, round a column and add its error to the targets of the block's later columns.

    Weights whose error would be above the limit are kept, and written into `kept`. Those of the mask `zero` take
    the level nearest to 0.
    """
    rows, length = original.shape
    tables, most = table.shape[1], table.shape[2]
    sparse = kept.shape == original.shape
    prunes = zero.shape == original.shape
    for r in prange(rows):
        row = np.int64(r)
        middles = np.empty((tables, most), np.float32)
        for g in range(tables):
            for k in range(most - 1):
                middles[g, k] = np.float32(0.5) * (table[row, g, k] + table[row, g, k + 1])
        total = 0.0
        pending = target[row]
        for j in range(length):
            wanted = pending[j]
            keeps = sparse and kept[row, j]
            if not keeps:
                g = places[j]
                aim = np.float32(0.0) if prunes and zero[row, j] else wanted
                code = 0
                for k in range(most - 1):
                    code += 1 if aim > middles[g, k] else 0
                codes[row, j] = code
                value = table[row, g, code]
                keeps = sparse and ((wanted - value) * diagonal[j]) ** 2 > limit
            if keeps:
                kept[row, j] = True
                codes[row, j] = 0
                value = wanted
                if step[row] > 0:
                    value = np.float32(min(127.0, max(-127.0, np.rint(wanted / step[row])))) * step[row]
            miss = (wanted - value) * diagonal[j]
            total += miss * miss
            values[row, j] = value
            error = original[row, j] - value
            errors[row, j] = error
            for i in range(j + 1, length):
                pending[i] += error * unit[j, i]
        loss[row] = total
