"""The loss of a rounding, measured directly."""

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.quant.rounding.linear_algebra import product
from haloquant.quant.sensitivity import fisher_importance
from haloquant.quant.tiles import tile_sums
from haloquant.records import LayerStatistics, TileGrid


def hessian_loss(
    weight: Float32[np.ndarray, "out in"], values: Float32[np.ndarray, "out in"], hessian: Float32[np.ndarray, "in in"]
) -> Float64[np.ndarray, " out"]:
    """Return (w - q) H (w - q)^T of every output channel, where q is the row of `values`; H is not damped."""
    error = weight - values
    return np.einsum("oi,oi->o", product(error, hessian), error, dtype=np.float64)


def fisher_losses(
    weight: Float32[np.ndarray, "out in"],
    values: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    grid: TileGrid,
) -> Float64[np.ndarray, "down across"]:
    """Return 1/2 sum F_ij (w_ij - q_ij)^2 over every tile, where F is the Fisher diagonal and q is `values`."""
    return tile_sums(0.5 * fisher_importance(statistics) * (weight - values) ** 2, grid)
