"""Which class each tile of a model gets: the path of allocations from all fast to all slow, and the goals on it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.quant.allocation import Sweep, knee, sweep, unflatten
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.recipe import Goal
from haloquant.records import TileGrid, TileMap

FAST, SLOW = 0, 1  # indices of the classes; the fastest class comes first


@dataclass(frozen=True)
class Allocator:
    """The tiles of a model, their predicted losses, and the path of allocations from all fast to all slow.

    `loss` is [tiles, classes] in nats, without the base class.
    """

    grids: Mapping[str, TileGrid]
    loss: np.ndarray
    path: Sweep

    def stop(self, goal: Goal) -> int:
        """Return the position of a goal on the path: its first point, its knee, or its last point."""
        return {"perf-opt": 0, "bal": knee(self.path), "acc-opt": len(self.path.cost) - 1}[goal]

    def goal_maps(self, goal: Goal) -> dict[str, TileMap]:
        """Return the class of every tile for a goal, by layer."""
        return self.maps(self.stop(goal)) if goal == "bal" else uniform_maps(self.grids, goal)

    def maps(self, stop: int) -> dict[str, TileMap]:
        """Return the class of every tile at a position of the path, by layer."""
        parts = unflatten(self.path.at(stop), list(self.grids.items()))
        return {part.layer: part for part in parts}


def uniform_maps(grids: Mapping[str, TileGrid], goal: Goal) -> dict[str, TileMap]:
    """Return one class for all tiles, by layer: the fast class for `perf-opt`, the slow class for `acc-opt`."""
    index = {"perf-opt": FAST, "acc-opt": SLOW}[goal]
    return {layer: uniform_map(layer, grid, index) for layer, grid in grids.items()}


def layer_grids(shapes: Mapping[str, tuple[int, int]], tile: int) -> dict[str, TileGrid]:
    """Return how each layer of shape (out, in) is cut into tiles of tile x tile."""
    return {layer: make_grid(*shape, tile, tile) for layer, shape in shapes.items()}


def build_allocator(grids: Mapping[str, TileGrid], loss: np.ndarray, classes: Classes) -> Allocator:
    """Return the path of allocations with the least loss for the time that the tiles take.

    Args:
        grids: Tiles of every layer.
        loss: Predicted loss [tiles, classes] in nats, without the base class.
        classes: The classes; a tile costs one clock period of its class.
    """
    period = np.array([book.point.period_s for book in classes.codebooks[:-1]])
    return Allocator(grids, loss, sweep(loss, np.broadcast_to(period, loss.shape).copy()))
