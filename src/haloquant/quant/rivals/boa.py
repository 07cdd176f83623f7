"""BoA (arXiv 2406.13474): GPTQ with an attention-aware Hessian, H x G: G couples the output rows of one head.

The loss of an error D of one head is tr(G D H D^T): H = (2/T) X X^T as ever, G what the rest of the attention makes of
the head's output (K^T K for queries, Q^T Q for keys, W_O^T W_O for values). Rounding row j with all rows after it free
costs d H d^T times a factor of G alone, so GPTQ rounds the row as usual; then the rows after it move by
-(w_j - q_j) U_jk / U_jj with G^-1 = U^T U. Both together are optimal brain quantization on the Kronecker product, row
by row (a test holds them against it).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32
from scipy.linalg import cholesky

from haloquant.errors import InputError
from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals import gptq
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.input_checks import need_between, need_hessian
from haloquant.quant.rivals.parts.stored_bits import grid_bits
from haloquant.quant.rounding.compensation import Progress, compensate, factorize
from haloquant.records import LayerResult, LayerStatistics

# Of single layers; a method's notes are those of all its layers.
NOTE_AWARE = "queries, keys and values: rows of a head coupled by attention"
NOTE_PLAIN = "layers without a row Hessian: plain GPTQ"


@dataclass(frozen=True, slots=True)
class BoaConfig:
    """Grid, damping of both factors, order of columns and rows."""

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"
    damping: float = 0.01
    order: Literal["natural", "activation"] = "activation"


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: BoaConfig,
    *,
    layer: str,
    row_hessian: Float32[np.ndarray, "heads size size"] | None = None,
    progress: Progress | None = None,
) -> LayerResult:
    """BoA on one layer; without a row Hessian (output projection, MLP) it is GPTQ, and says so.

    Args:
        weight: [out, in] with out = heads * size, rows of a head together.
        statistics: with the column Hessian. Where it differs by head (values), call once per head with its rows.
        config: grid, damping, order.
        layer: name for the result and for errors.
        row_hessian: G of every head, symmetric, positive semidefinite.
        progress: called with (rows of a head done, rows).

    Returns:
        LayerResult: with `mac_values` the signed levels. Each row's grids are fitted when its turn comes.

    Raises:
        InputError: weights that are not finite, Hessians that are absent, of another layer or not to be factored, a
            grid that cannot exist.
    """
    if row_hessian is None:
        same = gptq.GptqConfig(config.bits, config.group, config.scheme, config.damping, config.order)
        result = gptq.quantize(weight, statistics, same, layer=layer, progress=progress)
        return LayerResult(layer, result.weight, result.bits, result.mac_values, notes=(*result.notes, NOTE_PLAIN))
    spec = uniform_grid.GridSpec(config.bits, config.group, config.scheme)
    uniform_grid.check_spec(spec, layer)
    need_between("damping", config.damping, 1e-9, 1, layer)
    check_weight(weight, layer)
    hessian = need_hessian(statistics, "boa", weight.shape, layer)
    heads, size = row_hessian.shape[0], row_hessian.shape[1]
    if heads * size != weight.shape[0]:
        raise InputError(
            f"layer '{layer}': row Hessians must cover its {weight.shape[0]} rows, not {heads} heads of {size} rows"
        )
    columns = gptq.column_order(hessian, config.order)
    blocks = tuple(columns[low : low + gptq.BLOCK] for low in range(0, columns.size, gptq.BLOCK))
    factor = factorize(hessian, blocks, damping=config.damping, layer=layer)
    rows, upper = _row_factors(row_hessian, config, layer)
    group_of = np.arange(weight.shape[1]) // spec.width(weight.shape[1])
    work = (weight * (np.diag(hessian) > 0)).reshape(heads, size, -1)
    work = np.take_along_axis(work, rows[:, :, None], axis=1)
    level = np.empty(work.shape, np.int16)
    for j in range(size):
        now = np.ascontiguousarray(work[:, j])
        fitted = uniform_grid.fit(now, spec)
        table = uniform_grid.table(fitted)
        done = compensate(now, factor, lambda index, part, target, table=table: table, groups=group_of)
        work[:, j + 1 :] -= (upper[:, j, j + 1 :] / upper[:, j, j, None])[:, :, None] * (now - done.values)[:, None, :]
        work[:, j] = done.values
        level[:, j] = done.codes.astype(np.int16) + np.int16(spec.low) - fitted.zero[:, group_of].astype(np.int16)
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
    """Order of the rows of every head, and U of the damped G^-1 = U^T U in that order."""
    heads, size = row_hessian.shape[0], row_hessian.shape[1]
    rows = np.empty((heads, size), np.int64)
    upper = np.empty((heads, size, size), np.float32)
    for h in range(heads):
        rows[h] = gptq.column_order(row_hessian[h], config.order)
        damped = row_hessian[h][np.ix_(rows[h], rows[h])].astype(np.float64)
        mean = float(np.diag(damped).mean())
        np.fill_diagonal(damped, np.diag(damped) + config.damping * (mean if mean > 0 else 1.0))
        try:
            upper[h] = cholesky(np.linalg.inv(damped))
        except np.linalg.LinAlgError:
            raise InputError(
                f"layer '{layer}': the row Hessian of head {h} must be positive definite once damped, but is not; "
                "calibrate on more tokens or raise the damping"
            ) from None
    return rows, upper
