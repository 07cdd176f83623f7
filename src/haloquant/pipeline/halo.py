"""HALO on one model: classes for tiles, then every layer onto its tiles' codebooks."""

from collections.abc import Callable, Mapping

import numpy as np

from haloquant.config import Goal, Recipe
from haloquant.pipeline.hardware import Classes
from haloquant.quant.sensitivity import importance, tile_scores
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid
from haloquant.quant.weight import quantize_weight, quantize_weight_compensated
from haloquant.types import LayerStatistics, QuantizedWeight, TileMap

FAST, SLOW = 0, 1

# Share of the model's tiles that run fast, by goal, until the sweep has found its knee.
SHARES: Mapping[Goal, float] = {"perf-opt": 1.0, "bal": 0.5, "acc-opt": 0.0}


def scores(
    shapes: Mapping[str, tuple[int, int]], statistics: Mapping[str, LayerStatistics], tile: int
) -> dict[str, np.ndarray]:
    """Sensitivity of every tile of every layer, from the best importance the statistics allow."""
    found: dict[str, np.ndarray] = {}
    for layer, (out_features, in_features) in shapes.items():
        weights = np.broadcast_to(importance(statistics[layer], in_features), (out_features, in_features))
        found[layer] = tile_scores(np.ascontiguousarray(weights), make_grid(out_features, in_features, tile, tile))
    return found


def assign(
    shapes: Mapping[str, tuple[int, int]], sensitivity: Mapping[str, np.ndarray], tile: int, share: float
) -> dict[str, TileMap]:
    """The `share` least sensitive tiles of the model run fast, the rest slow."""
    flat = np.concatenate([sensitivity[layer].ravel() for layer in shapes])
    count = round(share * flat.size)
    fast = np.zeros(flat.size, bool)
    fast[np.argsort(flat, kind="stable")[:count]] = True
    maps: dict[str, TileMap] = {}
    start = 0
    for layer, (out_features, in_features) in shapes.items():
        grid = make_grid(out_features, in_features, tile, tile)
        part = fast[start : start + grid.down * grid.across].reshape(grid.down, grid.across)
        maps[layer] = TileMap(layer, grid, np.where(part, FAST, SLOW).astype(np.uint8))
        start += part.size
    return maps


def quantize(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    maps: Mapping[str, TileMap],
    classes: Classes,
    recipe: Recipe,
    progress: Callable[[int, int], None],
) -> dict[str, QuantizedWeight]:
    """Every layer: sparse part out, scales searched, the rest onto the words of its tiles."""
    made: dict[str, QuantizedWeight] = {}
    for done, (layer, weight) in enumerate(weights.items()):
        sparse, _ = split(weight, statistics[layer], layer=layer, budget=recipe.quantize.sparse_budget)
        round_layer = quantize_weight_compensated if recipe.quantize.compensate else quantize_weight
        made[layer] = round_layer(
            weight, tiles=maps[layer], codebooks=classes.codebooks[:-1], statistics=statistics[layer], sparse=sparse
        )
        progress(done + 1, len(weights))
    return made
