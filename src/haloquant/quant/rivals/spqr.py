"""SpQR (arXiv 2306.03078): small groups, their statistics quantized too, and spoilers kept apart."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32
from numba import njit

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts.input_checks import need_between, need_hessian
from haloquant.quant.rivals.parts.stored_bits import csr_bits
from haloquant.quant.rounding.compensation import Progress, compensate, factorize, ordered_blocks
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SpqrConfig:
    """`bits` codes in groups of `group` inputs; scale and zero point of a group in `statistic_bits` each.

    Statistics are themselves quantized together for `statistic_group` output features of the same inputs, with a
    float16 offset and step each. A weight is kept in float16 if leaving it out lowers its group's loss by more than
    `threshold` times the mean over its inputs of (variance over outputs) * R_jj^2.
    """

    bits: int = 3
    group: int = 16
    statistic_bits: int = 3
    statistic_group: int = 16
    threshold: float = 0.2
    damping: float = 0.01


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: SpqrConfig,
    *,
    layer: str,
    progress: Progress | None = None,
) -> LayerResult:
    """SpQR on one layer: GPTQ over groups in the order of their activation, outliers found when a group begins.

    Groups stay whole under that order, so that no permutation is stored.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian.
        config: grids and threshold.
        layer: name for the result and for errors.
        progress: called with (groups done, groups).

    Returns:
        LayerResult: `mac_values` are the codes; the zero point is a fraction and is applied to the group's sum of
        activations. Outliers are float16, outside the array.

    Raises:
        InputError: weights that are not finite, a Hessian that is absent, of another layer or not to be factored,
            settings out of range.
    """
    need_between("bits", config.bits, 2, 7, layer)
    need_between("group", config.group, 2, 65536, layer)
    need_between("bits of a statistic", config.statistic_bits, 1, 8, layer)
    need_between("rows of a statistic", config.statistic_group, 1, 65536, layer)
    need_between("damping", config.damping, 1e-9, 1, layer)
    check_weight(weight, layer)
    hessian = need_hessian(statistics, "spqr", weight.shape, layer)
    dead = np.diag(hessian) <= 0
    factor = factorize(
        hessian, ordered_blocks(np.diag(hessian).copy(), config.group), damping=config.damping, layer=layer
    )
    stiffness = np.square(factor.diagonal)
    outlier = np.zeros(weight.shape, bool)  # filled group by group: the engine reads it once it has the group's levels
    top = 2**config.bits - 1
    starts = np.cumsum([0, *(block.size for block in factor.blocks)])

    def table(index: int, columns: np.ndarray, target: np.ndarray) -> np.ndarray:
        weighting = stiffness[starts[index] : starts[index + 1]]
        found = find_outliers(target, weighting, top, config.threshold)
        outlier[:, columns] = found
        low, high = _ranges(target, found)
        scale = quantize_statistic((high - low) / top, config.statistic_bits, config.statistic_group)
        scale = np.maximum(scale, np.float32(2.0**-24))
        zero = quantize_statistic(-low / scale, config.statistic_bits, config.statistic_group)
        return ((np.arange(top + 1, dtype=np.float32) - zero[:, None]) * scale[:, None])[:, None, :]

    done = compensate(weight * ~dead, factor, table, keep=outlier, progress=progress)
    out, features = weight.shape
    groups, teams = len(factor.blocks), -(-out // config.statistic_group)
    return LayerResult(
        layer=layer,
        weight=np.where(outlier, done.values.astype(np.float16), done.values).astype(np.float32),
        bits=BitCount(
            weights=weight.size,
            codes=weight.size * config.bits,
            scales=2 * groups * (out * config.statistic_bits + teams * 32),
            sparse=csr_bits(int(outlier.sum()), out, features, 16),
        ),
        mac_values=np.where(outlier, 0, done.codes).astype(np.int16),
        notes=(
            f"{int(outlier.sum())} of {weight.size} weights kept in float16 beside the integer MAC",
            "fractional zero points, applied to each group's sum of activations",
        ),
    )


def find_outliers(
    target: Float32[np.ndarray, "out width"], stiffness: Float32[np.ndarray, " width"], top: int, threshold: float
) -> Bool[np.ndarray, "out width"]:
    """The weights whose leaving out lowers the loss of rounding their group by more than the threshold.

    The loss of a group is sum over j of stiffness_j (w_j - q_j)^2 under the grid that spans it (0 included); leaving i
    out saves i's own loss, and changes the others' if i alone was the end of the range.
    """
    limit = threshold * float((target.var(axis=0) * stiffness).mean(dtype=np.float64))
    return _gains(target, stiffness, top) > np.float32(limit)


def quantize_statistic(values: Float32[np.ndarray, " out"], bits: int, group: int) -> Float32[np.ndarray, " out"]:
    """Statistics of one group of inputs, rounded to 2^bits levels from least to greatest of each run of outputs."""
    padded = np.concatenate([values, np.full(-values.size % group, values[-1], np.float32)]).reshape(-1, group)
    low = padded.min(axis=1, keepdims=True).astype(np.float16).astype(np.float32)
    step = (
        (np.maximum(padded.max(axis=1, keepdims=True) - low, 0) / (2**bits - 1)).astype(np.float16).astype(np.float32)
    )
    code = np.clip(np.rint((padded - low) / np.where(step > 0, step, 1)), 0, 2**bits - 1)
    return (low + code * step).reshape(-1)[: values.size].astype(np.float32)


def _ranges(target: np.ndarray, outlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = np.where(outlier, np.float32(0), target)
    return np.minimum(inside.min(axis=1), 0), np.maximum(inside.max(axis=1), 0)


@njit(cache=True)
@no_type_check
def _gains(target, stiffness, top):
    rows, width = target.shape
    gains = np.empty((rows, width), np.float32)
    for r in range(rows):
        row = target[r]
        base, own = _loss(row, stiffness, top, -1)
        lowest, highest = 0, 0
        for j in range(width):
            gains[r, j] = own[j]
            if row[j] < row[lowest]:
                lowest = j
            if row[j] > row[highest]:
                highest = j
        for end in (lowest, highest):
            gains[r, end] = base - _loss(row, stiffness, top, end)[0]
    return gains


@njit(cache=True)
@no_type_check
def _loss(row, stiffness, top, without):
    low, high = np.float32(0.0), np.float32(0.0)
    for j in range(row.size):
        if j != without:
            low, high = min(low, row[j]), max(high, row[j])
    own = np.zeros(row.size, np.float32)
    total = np.float32(0.0)
    scale = (high - low) / np.float32(top)
    if scale > 0:
        zero = -low / scale
        for j in range(row.size):
            if j != without:
                miss = row[j] - (min(max(np.rint(row[j] / scale + zero), 0), top) - zero) * scale
                own[j] = stiffness[j] * miss * miss
                total += own[j]
    return total, own
