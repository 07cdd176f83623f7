"""The importance of each tile of a model that is in memory as a whole: its sensitivity, and its loss in every class.

The product measures one layer at a time (`layer_tasks.measure_layer`).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.jobs.quantize.allocation import layer_grids
from haloquant.jobs.quantize.layer_rounding import RoundingSettings, round_layer
from haloquant.quant.kronecker_loss import kronecker_losses
from haloquant.quant.layer import dequantize
from haloquant.quant.sensitivity import importance, tile_scores
from haloquant.quant.shrinkage import shrunk
from haloquant.quant.tiles import uniform_map
from haloquant.recipe import Recipe
from haloquant.records import LayerStatistics, TileGrid


def tile_sensitivities(
    shapes: Mapping[str, tuple[int, int]], statistics: Mapping[str, LayerStatistics], tile: int
) -> dict[str, np.ndarray]:
    """Return the sensitivity of every tile of every layer, [tiles down, tiles across] by layer.

    It is computed from the best importance that the statistics allow (`quant.sensitivity.importance`).
    """
    found: dict[str, np.ndarray] = {}
    for layer, grid in layer_grids(shapes, tile).items():
        shape = (grid.out_features, grid.in_features)
        weights = np.broadcast_to(importance(statistics[layer], grid.in_features), shape)
        found[layer] = tile_scores(np.ascontiguousarray(weights), grid)
    return found


def predict_tile_losses(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    grids: Mapping[str, TileGrid],
    classes: Classes,
    recipe: Recipe,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Return the predicted rise of the model's loss for every tile in every class but base, [tiles, classes], in nats.

    Each layer is quantized once per class, with all its tiles in that class. The loss is computed with the
    Kronecker-factored Hessian (`quant.kronecker_loss.kronecker_losses`). The share of a tile can be negative if the
    errors of neighbouring tiles cancel. Such a share is set to 0, because one tile alone cannot lower the loss.
    """
    settings, count = recipe.quantize, len(classes.codebooks) - 1
    rounding = RoundingSettings(settings.sparse_budget, settings.compensate, settings.refine)
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for done, (layer, weight) in enumerate(weights.items()):
        known = shrunk(statistics[layer])
        for index in range(count):
            rounded = round_layer(weight, known, uniform_map(layer, grids[layer], index), classes, rounding)
            parts[index].append(kronecker_losses(weight, dequantize(rounded), known, grids[layer]))
        progress(done + 1, len(weights))
    return np.maximum(np.stack([flatten(part) for part in parts], axis=1), 0.0)


def flatten(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Return the arrays [down, across, ...] of the layers as one [tiles, ...], layer after layer, row after row."""
    return np.concatenate([part.reshape(-1, *part.shape[2:]) for part in maps])
