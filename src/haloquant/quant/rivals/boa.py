"""BoA (arXiv 2406.13474): GPTQ with the attention-aware Hessian H x G, where G couples the output rows of one head.

The loss of the error D of one head is tr(G D H D^T). H = (2/T) X X^T as in GPTQ. G is the effect of the rest of the
attention on the head's output: K^T K for queries, Q^T Q for keys, W_O^T W_O for values. While all later rows are free,
rounding row j costs d H d^T times a factor that depends on G alone, so the row is rounded as in GPTQ. Then every later
row k moves by -(w_j - q_j) U_jk / U_jj, where G^-1 = U^T U. Together this is optimal brain quantization on the
Kronecker product, row by row (a test compares them).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy.linalg import cholesky

from haloquant.errors import InputError
from haloquant.quant.hessian import damped, layer_hessian
from haloquant.quant.input_checks import check_setting
from haloquant.quant.rivals import gptq
from haloquant.quant.rivals.parts.bit_counts import grid_bits
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.rounding.compensation import Progress, compensate, factorize, split_blocks
from haloquant.records import LayerResult, LayerStatistics

# A layer gets one of these notes; a method's notes are the union of its layers' notes.
NOTE_AWARE = "queries, keys and values: rows of a head coupled by attention"
NOTE_PLAIN = "layers without a row Hessian: plain GPTQ"


@dataclass(frozen=True, slots=True)
class BoaConfig:
    """Settings of the grid and its ranges, the damping of H and G, and the order of rounding columns and rows."""

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"
    damping: float = 0.01
    order: Literal["natural", "activation"] = "activation"
    ranges: uniform_grid.Ranges = "full"


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: BoaConfig,
    *,
    layer: str,
    row_hessian: Float32[np.ndarray, "heads size size"] | None = None,
    progress: Progress | None = None,
) -> LayerResult:
    """Quantize one layer by BoA. Without a row Hessian (output projection, MLP) it is GPTQ, and a note says so.

    Args:
        weight: [out, in] with out = heads * size; the rows of a head are consecutive.
        statistics: with the column Hessian. If it differs by head (values), call once per head with its rows.
        config: settings.
        layer: name of the layer in the result and in error messages.
        row_hessian: G of every head, symmetric and positive semidefinite.
        progress: called with (finished rows of a head, rows of a head).

    Returns:
        The result; `mac_values` are the signed levels. The grids of a row are fitted just before it is rounded.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: A Hessian is missing, belongs to another layer or cannot be factored, or the grid is not possible.
    """
    if row_hessian is None:
        same = gptq.GptqConfig(
            config.bits, config.group, config.scheme, config.damping, config.order, ranges=config.ranges
        )
        result = gptq.quantize(weight, statistics, same, layer=layer, progress=progress)
        return LayerResult(layer, result.weight, result.bits, result.mac_values, notes=(*result.notes, NOTE_PLAIN))
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, config.scheme, layer)
    check_setting("damping", config.damping, 1e-9, 1, layer)
    hessian = layer_hessian(statistics, weight.shape[1], method="boa")
    heads, size = row_hessian.shape[0], row_hessian.shape[1]
    if heads * size != weight.shape[0]:
        raise InputError(
            f"layer '{layer}': row Hessians must cover its {weight.shape[0]} rows, not {heads} heads of {size} rows"
        )
    blocks = split_blocks(gptq.column_order(hessian, config.order), gptq.BLOCK)
    factor = factorize(hessian, blocks, damping=config.damping, layer=layer)
    rows, upper = _row_factors(row_hessian, config, layer)
    group_of = np.arange(weight.shape[1]) // spec.width(weight.shape[1])
    work = (weight * (np.diag(hessian) > 0)).reshape(heads, size, -1)
    work = np.take_along_axis(work, rows[:, :, None], axis=1)
    level = np.empty(work.shape, np.int16)
    for j in range(size):
        now = np.ascontiguousarray(work[:, j])
        fitted = uniform_grid.fit_range(now, np.diag(hessian)[None], spec, config.ranges)
        table = uniform_grid.table(fitted)
        rounded = compensate(now, factor, lambda _index, _columns, _updated, table=table: table, groups=group_of)
        error = now - rounded.values
        work[:, j + 1 :] -= (upper[:, j, j + 1 :] / upper[:, j, j, None])[:, :, None] * error[:, None, :]
        work[:, j] = rounded.values
        level[:, j] = rounded.codes.astype(np.int16) + np.int16(spec.low) - fitted.zero[:, group_of].astype(np.int16)
        if progress is not None:
            progress(j + 1, size)
    back = np.argsort(rows, axis=1)[:, :, None]
    return LayerResult(
        layer=layer,
        weight=np.take_along_axis(work, back, axis=1).reshape(weight.shape),
        bits=grid_bits(weight.shape[0], weight.shape[1], spec),
        mac_values=np.take_along_axis(level, back, axis=1).reshape(weight.shape),
        notes=(NOTE_AWARE,),
    )


def _row_factors(row_hessian: np.ndarray, config: BoaConfig, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of the rows of every head, and U of the damped G^-1 = U^T U in that order."""
    heads, size = row_hessian.shape[0], row_hessian.shape[1]
    rows = np.empty((heads, size), np.int64)
    upper = np.empty((heads, size, size), np.float32)
    for h in range(heads):
        rows[h] = gptq.column_order(row_hessian[h], config.order)
        ordered = row_hessian[h][np.ix_(rows[h], rows[h])]
        try:
            upper[h] = cholesky(np.linalg.inv(damped(ordered, config.damping)))
        except np.linalg.LinAlgError:
            raise InputError(
                f"layer '{layer}': the row Hessian of head {h} must be positive definite once damped, but is not; "
                "calibrate on more tokens or raise the damping"
            ) from None
    return rows, upper
