"""Column-wise error compensation: the order and the result of GPTQ, by nearest plane on one Cholesky factor.

Rounding row w to q costs (w - q) H (w - q)^T. With H = R R^T, R upper triangular, that is the sum over columns j of
R_jj^2 (t_j - q_j)^2, where t_j = w_j + sum over i < j of (w_i - q_i) R_ij / R_jj depends only on columns already
rounded. So each column rounds its target t_j as well as it can. It is what GPTQ does with the Cholesky factor of H^-1
(which is R^-1), without the inverse: one factorization instead of three, and the loss of every column comes for free.
`tests` hold a GPTQ by the paper against it.

The rounding operator is a function from a block of columns to ascending levels per output channel, so any grid fits:
tile codebooks, integers with scale and zero point, k-means tables.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numba import njit, prange
from scipy.linalg import LinAlgError

from haloquant.errors import InputError
from haloquant.quant.rounding.linear_algebra import product, upper_factor

# (index of the block, its columns, its targets [out, columns]) -> ascending levels [out, groups, most], padded by +inf.
Levels = Callable[[int, np.ndarray, np.ndarray], np.ndarray]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Factor:
    """The damped Hessian as R R^T in the order of processing, R upper triangular.

    `unit` is R with column j divided by R_jj; `diagonal` is R_jj, and R_jj^-2 is GPTQ's [H^-1]_jj over the columns
    not yet processed. `blocks` are the columns of each block, in order; `damping` is the share of the mean diagonal
    that was added.
    """

    blocks: tuple[Int64[np.ndarray, " _"], ...]
    unit: Float32[np.ndarray, "in in"]
    diagonal: Float32[np.ndarray, " in"]
    damping: float


@dataclass(frozen=True)
class Compensated:
    """Codes (index of the level), what they stand for, and the damped Hessian loss of every row in every block."""

    codes: UInt8[np.ndarray, "out in"]
    values: Float32[np.ndarray, "out in"]
    loss: Float64[np.ndarray, "out blocks"]


def natural_blocks(in_features: int, length: int) -> tuple[np.ndarray, ...]:
    """Blocks of `length` columns from first to last."""
    return tuple(np.arange(low, min(low + length, in_features)) for low in range(0, in_features, length))


def ordered_blocks(diagonal: Float32[np.ndarray, " in"], length: int) -> tuple[np.ndarray, ...]:
    """Activation order tile by tile: tiles by falling mean of the Hessian diagonal, and columns so inside each tile."""
    blocks = natural_blocks(diagonal.size, length)
    heavy = sorted(range(len(blocks)), key=lambda b: (-float(diagonal[blocks[b]].mean(dtype=np.float64)), b))
    return tuple(blocks[b][np.argsort(-diagonal[blocks[b]], kind="stable")] for b in heavy)


def free_blocks(diagonal: Float32[np.ndarray, " in"], length: int) -> tuple[np.ndarray, ...]:
    """GPTQ's own activation order: columns by falling Hessian diagonal, whatever tile they belong to.

    Tiles stay whole where it counts: only the order of rounding is permuted, codes stay in their places. Scales must be
    fixed before, since a tile's columns are rounded far apart.
    """
    order = np.argsort(-diagonal, kind="stable")
    return tuple(order[low : low + length] for low in range(0, diagonal.size, length))


def factorize(
    hessian: Float32[np.ndarray, "in in"],
    blocks: Sequence[np.ndarray],
    *,
    damping: float = 0.01,
    layer: str = "layer",
) -> Factor:
    """Cholesky factor of H + damping mean(diag H) I in the order of the blocks.

    Where that is not positive definite in float32 (dead or dependent inputs), damping is raised tenfold until it is;
    the factor says what was used. Columns whose input was always 0 stay uncoupled, and so are rounded to nearest.

    Args:
        hessian: (2/T) X X^T, symmetric.
        blocks: every column once, in order of processing.
        damping: share of the mean diagonal added to the diagonal.
        layer: name for error sentences.

    Raises:
        InputError: the Hessian is not finite, or no damping up to 10 helps; the blocks are not a permutation.
    """
    order = np.concatenate(blocks).astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(hessian.shape[0])):
        raise InputError(f"column blocks of {layer} must hold every one of {hessian.shape[0]} inputs once")
    trace = float(np.trace(hessian, dtype=np.float64))
    if not np.isfinite(hessian.sum(dtype=np.float64)) or trace < 0:
        raise InputError(f"Hessian of {layer} must be finite and positive, not damaged: calibrate again in float32")
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
        f"Hessian of {layer} must be positive definite once damped, not indefinite even with 10 times its mean diagonal"
    )


def compensate(
    weight: Float32[np.ndarray, "out in"],
    factor: Factor,
    levels: Levels,
    *,
    groups: Int64[np.ndarray, " in"] | None = None,
    keep: Bool[np.ndarray, "out in"] | None = None,
    keep_step: Float32[np.ndarray, " out"] | None = None,
    progress: Progress | None = None,
) -> Compensated:
    """Round block after block, column after column, each column making up for the error of those before it.

    Args:
        weight: [out, in].
        factor: of the layer's Hessian; its blocks give the order.
        levels: called once per block with the block's targets before any of its columns is rounded; returns what each
            output channel may use there, in one or more tables.
        groups: which of the tables each input column uses. Default: the first.
        keep: weights that are not put on the levels (sparse part). Each block is read after its `levels` call,
            so that a method may decide there.
        keep_step: they are rounded to -127..127 steps of this size per output channel instead; a step of 0 keeps the
            target exactly. Default: exactly.
        progress: called with (blocks done, blocks) after each.

    Returns:
        Codes and values in the weight's own column order. Codes of kept weights are 0.
    """
    out_features, in_features = weight.shape
    errors = np.zeros((out_features, in_features), np.float32)
    codes = np.zeros(weight.shape, np.uint8)
    values = np.empty(weight.shape, np.float32)
    loss = np.zeros((out_features, len(factor.blocks)))
    step = np.zeros(out_features, np.float32) if keep_step is None else keep_step
    places = np.zeros(in_features, np.int64) if groups is None else groups
    low = 0
    for index, columns in enumerate(factor.blocks):
        high = low + columns.size
        original = np.ascontiguousarray(weight[:, columns])
        target = original + product(errors[:, :low], factor.unit[:low, low:high]) if low else original.copy()
        table = np.ascontiguousarray(levels(index, columns, target), dtype=np.float32)
        kept = np.zeros((1, 1), bool) if keep is None else np.ascontiguousarray(keep[:, columns])
        found, made = np.zeros(original.shape, np.uint8), np.empty_like(original)
        _round_block(
            original,
            target,
            np.ascontiguousarray(factor.unit[low:high, low:high]),
            factor.diagonal[low:high],
            table,
            places[columns],
            kept,
            step,
            found,
            made,
            errors[:, low:high],
            loss[:, index],
        )
        codes[:, columns] = found
        values[:, columns] = made
        low = high
        if progress is not None:
            progress(index + 1, len(factor.blocks))
    return Compensated(codes, values, loss)


def hessian_loss(
    weight: Float32[np.ndarray, "out in"], values: Float32[np.ndarray, "out in"], hessian: Float32[np.ndarray, "in in"]
) -> Float64[np.ndarray, " out"]:
    """(w - q) H (w - q)^T of every output channel, undamped: the judge of any rounding."""
    error = weight - values
    return np.einsum("oi,oi->o", product(error, hessian), error, dtype=np.float64)


@njit(parallel=True, cache=True, fastmath={"contract"})
@no_type_check
def _round_block(original, target, unit, diagonal, table, places, kept, step, codes, values, errors, loss):
    """One block, row by row: round a column, push its error onto the targets of the block's later columns."""
    rows, length = original.shape
    tables, most = table.shape[1], table.shape[2]
    sparse = kept.size > 1 or kept[0, 0]
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
            if sparse and kept[row, j]:
                value = wanted
                if step[row] > 0:
                    value = np.float32(min(127.0, max(-127.0, np.rint(wanted / step[row])))) * step[row]
            else:
                g = places[j]
                code = 0
                for k in range(most - 1):
                    code += 1 if wanted > middles[g, k] else 0
                codes[row, j] = code
                value = table[row, g, code]
            miss = (wanted - value) * diagonal[j]
            total += miss * miss
            values[row, j] = value
            error = original[row, j] - value
            errors[row, j] = error
            for i in range(j + 1, length):
                pending[i] += error * unit[j, i]
        loss[row] = total
