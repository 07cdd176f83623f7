"""The importance of an error in each weight: importance per weight, and HALO's sensitivity per tile."""

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.errors import InputError
from haloquant.quant.hessian import hessian_importance
from haloquant.quant.input_checks import check_matrix, usable_importance
from haloquant.quant.tiles import tile_counts, tile_sums
from haloquant.records import LayerStatistics, TileGrid


def layer_fisher(
    statistics: LayerStatistics, *, method: str, shape: tuple[int, int] | None = None
) -> Float32[np.ndarray, "out in"]:
    """Return the diagonal Fisher information: the mean squared gradient of the loss by each weight.

    Args:
        statistics: statistics of the layer.
        method: the method that needs the Fisher information; the error names it.
        shape: shape of the weight. If it is given, shape and finiteness are checked.

    Raises:
        InputError: The statistics hold no Fisher part, one of another shape, or one that is not finite.
    """
    if statistics.fisher is None:
        raise InputError(
            f"layer '{statistics.layer}': {method} needs the diagonal Fisher, not statistics from "
            f"'{statistics.source}'; collect calibration with gradients, or choose a data-free method such as rounding "
            "to nearest"
        )
    if shape is not None:
        check_matrix(statistics.fisher, shape, "Fisher", statistics.layer)
    return statistics.fisher


def fisher_importance(statistics: LayerStatistics) -> Float32[np.ndarray, "out in"]:
    """Return the diagonal Fisher information as the importance of every weight.

    Raises:
        InputError: The statistics hold no Fisher part, or it is not finite.
    """
    return usable_importance(layer_fisher(statistics, method="importance by gradients"), statistics.layer)


def uniform_importance(in_features: int) -> Float32[np.ndarray, "1 in"]:
    """Return importance 1 for every weight. It is used where there is no calibration."""
    return np.ones((1, in_features), np.float32)


def importance(statistics: LayerStatistics | None, in_features: int) -> Float32[np.ndarray, "rows in"]:
    """Return the best importance that the statistics allow: Fisher, else the Hessian diagonal, else uniform.

    Returns:
        [out, in] from Fisher; otherwise one row [1, in] that holds for every output feature.
    """
    if statistics is not None and statistics.fisher is not None:
        return fisher_importance(statistics)
    if statistics is not None and statistics.hessian is not None:
        return hessian_importance(statistics)
    return uniform_importance(in_features)


def layer_scores(statistics: LayerStatistics | None, grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """Return the tile sensitivity of a layer by the best importance that its statistics allow (`importance`)."""
    weights = np.broadcast_to(importance(statistics, grid.in_features), (grid.out_features, grid.in_features))
    return tile_scores(np.ascontiguousarray(weights), grid)


def tile_scores(fisher: Float32[np.ndarray, "out in"], grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """Return HALO's tile sensitivity: the mean squared gradient over the weights of each tile.

    A tile at the edge of the layer is divided by the number of weights that it holds, without padding.
    """
    return tile_sums(fisher, grid) / tile_counts(grid)
