"""SpQR (arXiv 2306.03078): small groups with quantized scales and zero points, and outliers kept in float16."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32
from numba import njit

from haloquant.quant.float16 import SMALLEST
from haloquant.quant.hessian import layer_hessian
from haloquant.quant.input_checks import check_setting, check_weight
from haloquant.quant.rivals.parts.bit_counts import csr_bits
from haloquant.quant.rounding.compensation import Progress, activation_order_by_tile, compensate, factorize
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SpqrConfig:
    """Settings.

    Attributes:
        bits: bits of a code.
        group: inputs that share a scale and a zero point.
        statistic_bits: bits of a group's scale, and of its zero point.
        statistic_group: output features whose statistics (of the same inputs) are quantized together, with one float16
            offset and one float16 step.
        threshold: share of m above which an error makes an outlier. m is the mean over all inputs of the layer of
            (variance over outputs) * R_jj^2. See `quantize`.
        damping: share of the Hessian's mean diagonal that is added to its diagonal.
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
    """Quantize one layer by SpQR: GPTQ over groups by falling activation; outliers are found when a group begins.

    As in the authors' code, one limit holds for the whole layer: `threshold` times m. When a group begins, weights that
    would lower its loss by more than the limit if they were left out are left out of the group's scale and zero point.
    A weight becomes an outlier if its own error after rounding costs more than the limit, whether it was left out
    before or not. Groups stay whole under the order of rounding, so no permutation is stored.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian.
        config: settings.
        layer: name of the layer in the result and in error messages.
        progress: called with (finished groups, groups).

    Returns:
        The result. `mac_values` are the codes, because the zero point is a fraction: it is applied to the group's sum
        of activations. Outliers are float16 and are computed outside the array.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: The Hessian is missing, belongs to another layer or cannot be factored, or a setting is out of
            range.
    """
    check_setting("bits", config.bits, 2, 7, layer)
    check_setting("group", config.group, 2, 65536, layer)
    check_setting("bits of a statistic", config.statistic_bits, 1, 8, layer)
    check_setting("rows of a statistic", config.statistic_group, 1, 65536, layer)
    check_setting("damping", config.damping, 1e-9, 1, layer)
    check_weight(weight, layer)
    hessian = layer_hessian(statistics, weight.shape[1], method="spqr")
    dead = np.diag(hessian) <= 0
    blocks = activation_order_by_tile(np.diag(hessian).copy(), config.group)
    factor = factorize(hessian, blocks, damping=config.damping, layer=layer)
    stiffness = np.square(factor.diagonal)
    alive = weight * ~dead
    top = 2**config.bits - 1
    starts = np.cumsum([0, *(block.size for block in factor.blocks)])
    variance = alive.var(axis=0, dtype=np.float64)[np.concatenate(factor.blocks)]
    limit = config.threshold * float((variance * stiffness).mean())

    def table(index: int, _columns: np.ndarray, updated: Callable[[], np.ndarray]) -> np.ndarray:
        target = updated()
        weighting = stiffness[starts[index] : starts[index + 1]]
        low, high = _ranges(target, likely_outliers(target, weighting, top, limit))
        scale = quantize_statistic((high - low) / top, config.statistic_bits, config.statistic_group)
        scale = np.maximum(scale, np.float32(SMALLEST))
        zero = quantize_statistic(-low / scale, config.statistic_bits, config.statistic_group)
        return ((np.arange(top + 1, dtype=np.float32) - zero[:, None]) * scale[:, None])[:, None, :]

    rounded = compensate(alive, factor, table, keep_above=limit, progress=progress)
    outlier = np.zeros(weight.shape, bool) if rounded.kept is None else rounded.kept
    out, features = weight.shape
    groups, statistic_groups = len(factor.blocks), -(-out // config.statistic_group)
    return LayerResult(
        layer=layer,
        weight=np.where(outlier, rounded.values.astype(np.float16), rounded.values).astype(np.float32),
        bits=BitCount(
            weights=weight.size,
            codes=weight.size * config.bits,
            scales=2 * groups * (out * config.statistic_bits + statistic_groups * 32),
            sparse=csr_bits(int(outlier.sum()), out, features, 16),
        ),
        mac_values=np.where(outlier, 0, rounded.codes).astype(np.int16),
        notes=(
            f"{int(outlier.sum())} of {weight.size} weights kept in float16 beside the integer MAC",
            "fractional zero points, applied to each group's sum of activations",
        ),
        sparse_nnz=int(outlier.sum()),
    )


def likely_outliers(
    target: Float32[np.ndarray, "out width"], stiffness: Float32[np.ndarray, " width"], top: int, limit: float
) -> Bool[np.ndarray, "out width"]:
    """Return the weights that lower the loss of their group by more than the limit when they are left out.

    The loss of a group is the sum over j of stiffness_j (w_j - q_j)^2, on the grid that spans the group's range and 0.
    Leaving out weight i saves its own loss. It also changes the grid of the others if i alone is an end of the range.
    """
    return _gains(target, stiffness, top) > np.float32(limit)


def quantize_statistic(values: Float32[np.ndarray, " out"], bits: int, group: int) -> Float32[np.ndarray, " out"]:
    """Round statistics of one group of inputs to 2^bits levels between least and greatest of each run of outputs."""
    padded = np.concatenate([values, np.full(-values.size % group, values[-1], np.float32)]).reshape(-1, group)
    low = padded.min(axis=1, keepdims=True).astype(np.float16).astype(np.float32)
    step = (
        (np.maximum(padded.max(axis=1, keepdims=True) - low, 0) / (2**bits - 1)).astype(np.float16).astype(np.float32)
    )
    code = np.clip(np.rint((padded - low) / np.where(step > 0, step, 1)), 0, 2**bits - 1)
    return (low + code * step).reshape(-1)[: values.size].astype(np.float32)


def _ranges(target: np.ndarray, outlier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of every row without its outliers, 0 included."""
    inside = np.where(outlier, np.float32(0), target)
    return np.minimum(inside.min(axis=1), 0), np.maximum(inside.max(axis=1), 0)


@njit(cache=True)
@no_type_check
def _gains(target, stiffness, top):
    """Return the decrease of the loss of a group when each of its weights is left out."""
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
    """Return the loss of a row of a group without one weight (-1: with all), and the loss of every weight in it."""
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
