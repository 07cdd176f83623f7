"""Choice of a class for every tile: the least predicted loss at every total cost.

The tiles of all layers are in one list, layer after layer and row after row; `unflatten` makes tile maps of it. Loss
and cost are arrays [tiles, classes] that add up over tiles. Choosing one class per tile under a budget is the
multiple-choice knapsack problem. `sweep` solves its relaxation exactly: it takes the lower convex hull of (cost, loss)
of every tile, and applies all hull steps in order of falling (loss saved / extra cost). After each step, the allocation
is an exact optimum for its own cost. Between two steps the loss is above the optimum by less than the loss that one
step saves. `quant.budgets` allocates within several budgets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from haloquant.errors import InputError
from haloquant.records import TileGrid, TileMap


@dataclass(frozen=True)
class Sweep:
    """Exact optima from the cheapest allocation to the one of least loss: `start`, then one step after another.

    Attributes:
        start: class of every tile in the cheapest allocation.
        tile: the tile that each step changes.
        target: the class that the step puts this tile into.
        cost: total cost of `start`, then after each step.
        loss: total loss of `start`, then after each step.
    """

    start: UInt8[np.ndarray, " tiles"]
    tile: Int64[np.ndarray, " steps"]
    target: UInt8[np.ndarray, " steps"]
    cost: Float64[np.ndarray, " stops"]
    loss: Float64[np.ndarray, " stops"]

    def at(self, stop: int) -> UInt8[np.ndarray, " tiles"]:
        """Return the class of every tile after `stop` steps."""
        classes = self.start.copy()
        # A tile may be changed by several steps. The last one is the last assignment.
        classes[self.tile[:stop]] = self.target[:stop]
        return classes


def sweep(loss: Float64[np.ndarray, "tiles classes"], cost: Float64[np.ndarray, "tiles classes"]) -> Sweep:
    """Return all optima of the relaxed problem, cheapest first.

    Raises:
        InputError: Loss or cost is not finite, or they differ in shape.
    """
    _check(loss, cost)
    tiles = np.arange(loss.shape[0])
    start = _cheapest(loss, cost)
    current, steps = start.copy(), []
    # From its current class, a tile's next hull vertex is the dearer class with the greatest gain (loss saved / extra
    # cost). There are at most classes - 1 rounds.
    for rank in range(loss.shape[1] - 1):
        extra = cost - cost[tiles, current][:, None]
        saved = loss[tiles, current][:, None] - loss
        gain = np.divide(saved, extra, out=np.full(loss.shape, -np.inf), where=(extra > 0) & (saved > 0))
        # Of equal gains the dearest class is taken, so that collinear points make one step.
        reach = np.where(gain == gain.max(axis=1, keepdims=True), extra, -1.0)
        best = np.argmax(reach, axis=1)
        moving = np.nonzero(gain[tiles, best] > -np.inf)[0]
        if moving.size == 0:
            break
        steps.append(
            (
                gain[moving, best[moving]],
                np.full(moving.size, rank),
                moving,
                best[moving],
                extra[moving, best[moving]],
                saved[moving, best[moving]],
            )
        )
        current[moving] = best[moving]
    totals = (float(cost[tiles, start].sum()), float(loss[tiles, start].sum()))
    if not steps:
        return Sweep(start, np.empty(0, np.int64), np.empty(0, np.uint8), np.array(totals[:1]), np.array(totals[1:]))
    gain, rank, tile, target, extra, saved = (np.concatenate(part) for part in zip(*steps, strict=True))
    order = np.lexsort((tile, rank, -gain))
    return Sweep(
        start,
        tile[order].astype(np.int64),
        target[order].astype(np.uint8),
        totals[0] + np.concatenate([[0.0], np.cumsum(extra[order])]),
        totals[1] - np.concatenate([[0.0], np.cumsum(saved[order])]),
    )


def knee(path: Sweep) -> int:
    """Return the number of steps of the balanced allocation (*bal*): the knee of the path (`knee_of`)."""
    return knee_of(path.cost, path.loss)


def knee_of(cost: Float64[np.ndarray, " stops"], loss: Float64[np.ndarray, " stops"]) -> int:
    """Return the index of the knee of a curve whose cost rises and whose loss falls.

    Cost and loss are scaled to 0..1. The knee is the point farthest below the straight line from the cheapest point to
    the last. It is the last of fewer than three points, and of a curve that is flat in cost or in loss.
    """
    if cost.size < 3 or cost[-1] == cost[0] or loss[0] == loss[-1]:
        return cost.size - 1
    x = (cost - cost[0]) / (cost[-1] - cost[0])
    y = (loss - loss[-1]) / (loss[0] - loss[-1])
    return int(np.argmax(1 - x - y))


def unflatten(classes: UInt8[np.ndarray, " tiles"], layers: Sequence[tuple[str, TileGrid]]) -> tuple[TileMap, ...]:
    """Return the list of classes as one tile map per layer.

    Raises:
        InputError: The number of classes is not the number of tiles of the layers.
    """
    sizes = [grid.down * grid.across for _, grid in layers]
    if sum(sizes) != classes.size:
        raise InputError(f"classes must be given for {sum(sizes)} tiles, not {classes.size}")
    parts = np.split(classes, np.cumsum(sizes)[:-1])
    return tuple(
        TileMap(name, grid, np.ascontiguousarray(part.reshape(grid.down, grid.across)))
        for (name, grid), part in zip(layers, parts, strict=True)
    )


def _cheapest(loss: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Return the cheapest class of every tile; of equally cheap classes the one of least loss."""
    level = np.where(cost == cost.min(axis=1, keepdims=True), loss, np.inf)
    return np.argmin(level, axis=1).astype(np.uint8)


def _check(loss: np.ndarray, cost: np.ndarray) -> None:
    if loss.shape != cost.shape or loss.size == 0:
        raise InputError(
            f"loss and cost must be given for the same tiles and classes, not {loss.shape} and {cost.shape}"
        )
    if loss.shape[1] > 256:
        raise InputError(f"classes must be at most 256, not {loss.shape[1]}")
    if not (np.all(np.isfinite(loss)) and np.all(np.isfinite(cost))):
        raise InputError("loss and cost of every tile must be finite, and some are not: calibrate again")
