"""How much an error in each weight matters: importance per weight, and sensitivity per tile."""

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.errors import InputError
from haloquant.records import LayerStatistics, TileGrid


def fisher_importance(statistics: LayerStatistics) -> Float32[np.ndarray, "out in"]:
    """The diagonal Fisher information: mean squared gradient of the loss by each weight.

    Raises:
        InputError: the statistics hold no Fisher part.
    """
    if statistics.fisher is None:
        raise InputError(
            f"statistics of {statistics.layer} must hold a Fisher part, not only {statistics.source!r}: calibrate "
            "with gradients"
        )
    return _usable(statistics.fisher, statistics.layer)


def hessian_importance(statistics: LayerStatistics) -> Float32[np.ndarray, "1 in"]:
    """The diagonal of the layer Hessian (2/T) X X^T, the same for every output feature.

    Raises:
        InputError: the statistics hold no Hessian.
    """
    if statistics.hessian is None:
        raise InputError(
            f"statistics of {statistics.layer} must hold a Hessian, not only {statistics.source!r}: calibrate with "
            "layer inputs"
        )
    return _usable(np.diagonal(statistics.hessian)[None, :], statistics.layer)


def layer_hessian(statistics: LayerStatistics, in_features: int) -> Float32[np.ndarray, "in in"]:
    """The layer Hessian (2/T) X X^T, checked to be there and of the right size.

    Raises:
        InputError: the statistics hold no Hessian, or one of another layer.
    """
    if statistics.hessian is None:
        raise InputError(
            f"statistics of {statistics.layer} must hold a Hessian for error compensation, not only "
            f"{statistics.source!r}: calibrate with layer inputs, or round to nearest"
        )
    if statistics.hessian.shape[0] != in_features:
        raise InputError(
            f"Hessian of {statistics.layer} must be for {in_features} inputs, not {statistics.hessian.shape[0]}"
        )
    return statistics.hessian


def uniform_importance(in_features: int) -> Float32[np.ndarray, "1 in"]:
    """Every weight matters alike: what is left without calibration."""
    return np.ones((1, in_features), np.float32)


def importance(statistics: LayerStatistics | None, in_features: int) -> Float32[np.ndarray, "rows in"]:
    """The best importance that the statistics allow: Fisher, else Hessian diagonal, else uniform.

    Returns:
        [out, in] from Fisher, or one row [1, in] that holds for every output feature.
    """
    if statistics is not None and statistics.fisher is not None:
        return fisher_importance(statistics)
    if statistics is not None and statistics.hessian is not None:
        return hessian_importance(statistics)
    return uniform_importance(in_features)


def tile_scores(fisher: Float32[np.ndarray, "out in"], grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """HALO's tile sensitivity: sum of squared gradients over the tile, divided by its rows x columns (METHOD, stage 2).

    A tile cut short at the edge is divided by the weights it really has.
    """
    return tile_sums(fisher, grid) / tile_counts(grid)


def tile_sums(values: np.ndarray, grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """Sum of a [out, in] array over every tile, in float64."""
    rows = np.add.reduceat(values, np.arange(0, grid.out_features, grid.tile_out), axis=0, dtype=np.float64)
    return np.add.reduceat(rows, np.arange(0, grid.in_features, grid.tile_in), axis=1)


def tile_counts(grid: TileGrid) -> Float64[np.ndarray, "down across"]:
    """Number of weights of every tile, without padding."""
    rows = np.minimum(grid.tile_out, grid.out_features - grid.tile_out * np.arange(grid.down))
    cols = np.minimum(grid.tile_in, grid.in_features - grid.tile_in * np.arange(grid.across))
    return np.outer(rows, cols).astype(np.float64)


def _usable(values: np.ndarray, layer: str) -> np.ndarray:
    """Negative rounding noise becomes 0; an importance that is 0 everywhere (dead layer) becomes uniform."""
    if not np.isfinite(values.sum(dtype=np.float64)):
        raise InputError(
            f"statistics of {layer} must be finite, not NaN or infinite: calibrate again with another text or in "
            "float32"
        )
    if not np.any(values > 0):
        return np.ones(values.shape, np.float32)
    return np.ascontiguousarray(np.maximum(values, 0), dtype=np.float32)
