"""HALO on one model: what each class would cost every tile in loss, the sweep over allocations, and the layers made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.quant.accumulator import check_accumulation
from haloquant.quant.allocation import Sweep, flatten, knee, sweep, unflatten
from haloquant.quant.layer import dequantize, quantize_weight
from haloquant.quant.rounding.refinement import DEFAULT_SHARE, quantize_weight_refined
from haloquant.quant.sensitivity import importance, tile_scores
from haloquant.quant.sparse import split
from haloquant.quant.tile_loss import kronecker_losses
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.recipe import Goal, Recipe
from haloquant.records import LayerStatistics, QuantizedWeight, TileGrid, TileMap

Tell = Callable[[int, int], None]

FAST, SLOW = 0, 1  # indices of the classes, fastest first


@dataclass(frozen=True)
class Allocator:
    """The model's tiles, what each class loses on each (predicted), and the path from all fast to all slow."""

    grids: Mapping[str, TileGrid]
    loss: np.ndarray  # [tiles, classes], nats
    path: Sweep

    def stop(self, goal: Goal) -> int:
        """Where a goal stands on the path: its ends, and its knee."""
        return {"perf-opt": 0, "bal": knee(self.path), "acc-opt": len(self.path.cost) - 1}[goal]

    def maps(self, stop: int) -> dict[str, TileMap]:
        """The class of every tile at a stop of the path."""
        parts = unflatten(self.path.at(stop), list(self.grids.items()))
        return {part.layer: part for part in parts}


def grids_of(shapes: Mapping[str, tuple[int, int]], tile: int) -> dict[str, TileGrid]:
    """How every layer is cut into tiles."""
    return {layer: make_grid(*shape, tile, tile) for layer, shape in shapes.items()}


def scores(
    shapes: Mapping[str, tuple[int, int]], statistics: Mapping[str, LayerStatistics], tile: int
) -> dict[str, np.ndarray]:
    """Sensitivity of every tile of every layer, from the best importance the statistics allow."""
    found: dict[str, np.ndarray] = {}
    for layer, grid in grids_of(shapes, tile).items():
        shape = (grid.out_features, grid.in_features)
        weights = np.broadcast_to(importance(statistics[layer], grid.in_features), shape)
        found[layer] = tile_scores(np.ascontiguousarray(weights), grid)
    return found


def tile_losses(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    grids: Mapping[str, TileGrid],
    classes: Classes,
    recipe: Recipe,
    tell: Tell,
) -> np.ndarray:
    """Predicted rise of the model's loss for every tile in every class but base, [tiles, classes], in nats.

    Each layer is really quantized with all its tiles in one class; the loss is that of the Kronecker-factored Hessian
    (`quant.loss.kronecker_losses`). A share may come out negative where errors of neighbouring tiles cancel; it is
    held at 0, as a tile alone cannot lower the loss.
    """
    count = len(classes.codebooks) - 1
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for done, (layer, weight) in enumerate(weights.items()):
        for index in range(count):
            tile_map = {layer: uniform_map(layer, grids[layer], index)}
            made = quantize({layer: weight}, statistics, tile_map, classes, recipe, lambda d, t: None)[layer]
            parts[index].append(kronecker_losses(weight, dequantize(made), statistics[layer], grids[layer]))
        tell(done + 1, len(weights))
    return np.maximum(np.stack([flatten(part) for part in parts], axis=1), 0.0)


def allocator(grids: Mapping[str, TileGrid], loss: np.ndarray, classes: Classes) -> Allocator:
    """Sweep the allocations of least loss over the time that tiles take: a tile costs its class's period."""
    period = np.array([book.point.period_s for book in classes.codebooks[:-1]])
    return Allocator(grids, loss, sweep(loss, np.broadcast_to(period, loss.shape).copy()))


def quantize(
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    maps: Mapping[str, TileMap],
    classes: Classes,
    recipe: Recipe,
    tell: Tell,
) -> dict[str, QuantizedWeight]:
    """Every layer: sparse part out, scales searched, the rest onto the words of its tiles."""
    made: dict[str, QuantizedWeight] = {}
    asked = recipe.quantize
    for done, (layer, weight) in enumerate(weights.items()):
        made[layer] = one_layer(
            weight, statistics[layer], maps[layer], classes, asked.sparse_budget, asked.compensate, asked.refine
        )
        tell(done + 1, len(weights))
    return made


def one_layer(
    weight: np.ndarray,
    known: LayerStatistics | None,
    tile_map: TileMap,
    classes: Classes,
    sparse_budget: float,
    compensate: bool,
    share: float = DEFAULT_SHARE,
) -> QuantizedWeight:
    """One layer: sparse part, scales; compensation and refinement of a share where a Hessian is known and asked for.

    Raises:
        InfeasibleError: the layer's sums could overflow 32 bits.
    """
    check_accumulation(tile_map.layer, weight.shape[1], classes.codebooks[:-1])
    sparse, _ = split(weight, known, layer=tile_map.layer, budget=sparse_budget)
    books = classes.codebooks[:-1]
    if known is None or known.hessian is None or not compensate:
        return quantize_weight(weight, tiles=tile_map, codebooks=books, statistics=known, sparse=sparse)
    return quantize_weight_refined(
        weight, tiles=tile_map, codebooks=books, statistics=known, sparse=sparse, share=share
    )
