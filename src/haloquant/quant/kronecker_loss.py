"""Predicted rise of the model's loss, tile by tile, from the actual rounding errors.

Second order: rounding w to q raises the mean loss by about 1/2 (w - q)^T F (w - q), where F is the Fisher information
of one token. F is approximated by its Kronecker form, row factor x layer Hessian, because error compensation minimizes
that form. A Fisher information per sample (squared gradient of a window's mean loss) is F divided by the tokens of a
window. This factor is the same for all layers, so it does not change which tile gets which class.
"""

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.quant.hessian import layer_hessian, row_parts
from haloquant.quant.layer import dequantize
from haloquant.quant.rounding.linear_algebra import product
from haloquant.quant.sensitivity import fisher_importance
from haloquant.quant.tiles import tile_sums
from haloquant.records import LayerStatistics, QuantizedWeight, TileGrid


def kronecker_losses(
    weight: Float32[np.ndarray, "out in"],
    values: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    grid: TileGrid,
) -> Float64[np.ndarray, "down across"]:
    """Return each tile's share of 1/2 sum over rows r of s_r e_r H e_r^T, where e = weight - values.

    The share of tile a in row r is 1/2 s_r e_ra (e_r H)_a; it may be negative. s_r is `row_factor`.

    Raises:
        InputError: The statistics hold no Fisher part or no Hessian of the layer's size.
    """
    error = weight - values
    shares = np.empty_like(error)
    for part in row_parts(statistics, weight.shape[0]):
        hessian = layer_hessian(part.statistics, weight.shape[1], method="the predicted loss of tiles")
        shares[part.rows] = error[part.rows] * product(error[part.rows], hessian)
    return tile_sums(0.5 * row_factor(statistics)[:, None] * shares, grid)


def rounding_losses(
    weight: Float32[np.ndarray, "out in"], q: QuantizedWeight, statistics: LayerStatistics | None
) -> Float64[np.ndarray, "down across"]:
    """Return what rounding costs in each tile: `kronecker_losses`, in nats.

    Without statistics it is the squared error divided by the layer's mean square, so that layers are comparable.

    Args:
        weight: the weight before rounding.
        q: the layer in HALO form.
        statistics: Fisher part and Hessian of the layer; None without calibration.
    """
    error = weight - dequantize(q)
    if statistics is None:
        return tile_sums(error**2, q.tiles.grid) / mean_square(weight)
    return kronecker_losses(weight, weight - error, statistics, q.tiles.grid)


def mean_square(weight: Float32[np.ndarray, "out in"]) -> float:
    """Return the mean square of a layer's weights; 1 if all are 0."""
    return float(np.mean(weight.astype(np.float64) ** 2) or 1.0)


def row_factor(
    statistics: LayerStatistics, fisher_sums: Float64[np.ndarray, " out"] | None = None
) -> Float64[np.ndarray, " out"]:
    """Return s_r = sum_j F_rj / sum_j H_jj for every output r.

    With this factor the diagonal of the Kronecker form sums to the Fisher information of the row.

    Args:
        statistics: statistics of the layer.
        fisher_sums: sum_j F_rj of the usable Fisher information (`sensitivity.fisher_importance`), where it is known.

    Raises:
        InputError: The statistics hold no Fisher part or no Hessian.
    """
    layer_hessian(statistics, method="the predicted loss of tiles")
    known = fisher_sums is not None
    fisher = np.array(fisher_sums if known else fisher_importance(statistics).sum(axis=1, dtype=np.float64))
    for part in row_parts(statistics, fisher.size):
        hessian = layer_hessian(part.statistics, method="the predicted loss of tiles")
        fisher[part.rows] /= float(np.trace(hessian, dtype=np.float64)) or 1.0
    return fisher
