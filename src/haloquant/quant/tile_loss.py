"""Predicted loss increase, tile by tile, from errors that were made, not assumed.

Second order: quantizing w to q raises the mean loss by about 1/2 (w - q)^T F (w - q), F the Fisher information of one
token. Two readings of F: its diagonal, and its Kronecker form row factor x layer Hessian, which is what error
compensation minimises. A per-sample Fisher (squared gradient of a window's mean loss) is F divided by the tokens of a
window; the factor is the same for all layers, so it changes no allocation. `fit_scale` finds it from measured losses.
"""

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.errors import InputError
from haloquant.quant.rounding.linear_algebra import product
from haloquant.quant.sensitivity import fisher_importance, layer_hessian, tile_sums
from haloquant.records import LayerStatistics, TileGrid


def diagonal_losses(
    weight: Float32[np.ndarray, "out in"],
    values: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    grid: TileGrid,
) -> Float64[np.ndarray, "down across"]:
    """1/2 sum F_ij (w_ij - q_ij)^2 over every tile, F the Fisher diagonal."""
    return tile_sums(0.5 * fisher_importance(statistics) * (weight - values) ** 2, grid)


def kronecker_losses(
    weight: Float32[np.ndarray, "out in"],
    values: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    grid: TileGrid,
) -> Float64[np.ndarray, "down across"]:
    """1/2 sum over rows r of s_r e_r H e_r^T, each tile given its share e_a (e H)_a; shares may be negative.

    The row factor makes the diagonal agree with Fisher: s_r = sum_j F_rj / sum_j H_jj. Without Fisher it is 1, which
    compares tiles within a layer but not layers with each other.
    """
    hessian = layer_hessian(statistics, weight.shape[1])
    error = weight - values
    shares = error * product(error, hessian)
    return tile_sums(0.5 * row_factor(statistics)[:, None] * shares, grid)


def row_factor(statistics: LayerStatistics) -> Float64[np.ndarray, " out"]:
    """s_r = sum_j F_rj / sum_j H_jj: mean squared gradient of an output over that of its inputs' Hessian.

    Raises:
        InputError: there is no Fisher part or no Hessian.
    """
    if statistics.hessian is None:
        raise InputError(f"statistics of {statistics.layer} must hold a Hessian, not only {statistics.source!r}")
    trace = float(np.trace(statistics.hessian, dtype=np.float64))
    return fisher_importance(statistics).sum(axis=1, dtype=np.float64) / (trace or 1.0)


def fit_scale(predicted: Float64[np.ndarray, " n"], measured: Float64[np.ndarray, " n"]) -> tuple[float, float]:
    """Least-squares factor from predicted to measured loss increase (through 0), and their correlation.

    Raises:
        InputError: fewer than 2 pairs, or no prediction beside 0.
    """
    if predicted.size < 2 or not np.any(predicted):
        raise InputError(f"loss model must be checked on at least 2 allocations, not {predicted.size}")
    factor = float(predicted @ measured / (predicted @ predicted))
    spread = predicted.std() * measured.std()
    return factor, float(np.corrcoef(predicted, measured)[0, 1]) if spread > 0 else 1.0
