"""Which class each tile gets: HALO's cumulative rule, and least predicted loss under a budget of time or energy.

Tiles of all layers stand in one list (`flatten` and `unflatten` go between layers and list). Loss and cost are arrays
[tiles, classes], additive over tiles. Choosing one class a tile under a budget is the multiple-choice knapsack
problem. Its relaxation is solved exactly by taking, tile by tile, the lower convex hull of (cost, loss) and walking
all hull steps by falling loss saved per cost; every stop of that walk is an exact optimum for its own cost. Between
two stops the result misses the optimum by less than the loss of one step, and the bound that says so comes with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from haloquant.errors import InfeasibleError, InputError
from haloquant.records import TileGrid, TileMap


@dataclass(frozen=True)
class Allocation:
    """Class of every tile, what it costs and loses, and a loss below which no allocation of that cost can go."""

    classes: UInt8[np.ndarray, " tiles"]
    cost: float
    loss: float
    bound: float


@dataclass(frozen=True)
class Sweep:
    """Exact optima from cheapest to least loss: start with `start`, then apply step after step.

    Step i puts tile `tile[i]` into class `target[i]`; before any step the totals are cost[0] and loss[0], after step i
    cost[i + 1] and loss[i + 1].
    """

    start: UInt8[np.ndarray, " tiles"]
    tile: Int64[np.ndarray, " steps"]
    target: UInt8[np.ndarray, " steps"]
    cost: Float64[np.ndarray, " stops"]
    loss: Float64[np.ndarray, " stops"]

    def at(self, stop: int) -> UInt8[np.ndarray, " tiles"]:
        """Class of every tile after `stop` steps."""
        classes = self.start.copy()
        # Later steps of a tile overwrite earlier ones, in order.
        classes[self.tile[:stop]] = self.target[:stop]
        return classes


def cumulative(
    scores: Float64[np.ndarray, " tiles"], share: float, *, fast: int = 1, slow: int = 0
) -> UInt8[np.ndarray, " tiles"]:
    """HALO's rule: the least sensitive tiles, together at most `share` of all sensitivity, go to the fast class.

    Args:
        scores: sensitivity of every tile (`sensitivity.tile_scores`).
        share: 0 puts all tiles into the slow class, 1 all into the fast.
        fast: class of the low-sensitivity tiles.
        slow: class of the others.

    Raises:
        InputError: the share is not within 0..1, or a score is negative or not finite.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share of sensitivity must be within 0..1, not {share}")
    if not np.all(np.isfinite(scores)) or np.any(scores < 0):
        raise InputError("tile scores must be finite and at least 0, and some are not: calibrate again")
    order = np.argsort(scores, kind="stable")
    running = np.cumsum(scores[order])
    low = np.ones(scores.size, bool) if share == 1 else running <= share * running[-1]
    if share == 0:
        low[:] = False
    classes = np.full(scores.size, slow, np.uint8)
    classes[order[low]] = fast
    return classes


def sweep(loss: Float64[np.ndarray, "tiles classes"], cost: Float64[np.ndarray, "tiles classes"]) -> Sweep:
    """All optima of the relaxed problem, cheapest first: one sort over the hull steps of all tiles.

    Raises:
        InputError: loss or cost is not finite, or they differ in shape.
    """
    _check(loss, cost)
    tiles = np.arange(loss.shape[0])
    start = _cheapest(loss, cost)
    current, steps = start.copy(), []
    # From each tile's class, the next hull vertex is the dearer class of steepest fall; at most classes - 1 rounds.
    for rank in range(loss.shape[1] - 1):
        extra = cost - cost[tiles, current][:, None]
        saved = loss[tiles, current][:, None] - loss
        gain = np.divide(saved, extra, out=np.full(loss.shape, -np.inf), where=(extra > 0) & (saved > 0))
        # Of equal gains the farthest, so that collinear points make one step.
        reach = np.where(gain == gain.max(axis=1, keepdims=True), extra, -1.0)
        best = np.argmax(reach, axis=1)
        going = np.nonzero(gain[tiles, best] > -np.inf)[0]
        if going.size == 0:
            break
        steps.append(
            (
                gain[going, best[going]],
                np.full(going.size, rank),
                going,
                best[going],
                extra[going, best[going]],
                saved[going, best[going]],
            )
        )
        current[going] = best[going]
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


def least_loss(
    loss: Float64[np.ndarray, "tiles classes"], cost: Float64[np.ndarray, "tiles classes"], budget: float
) -> Allocation:
    """The allocation of least loss that costs at most `budget`.

    The last stop of the sweep within the budget, then whatever single changes of class still fit, best first.

    Raises:
        InputError: as `sweep`.
        InfeasibleError: even the cheapest classes cost more than the budget.
    """
    path = sweep(loss, cost)
    if path.cost[0] > budget * (1 + 1e-12):
        raise InfeasibleError(
            f"budget must be at least {path.cost[0]:.6g}, the cost of the cheapest classes, not {budget:.6g}"
        )
    stop = int(np.searchsorted(path.cost, budget * (1 + 1e-12), side="right")) - 1
    classes = path.at(stop)
    bound = float(path.loss[stop])
    if stop + 1 < path.cost.size:
        part = (budget - path.cost[stop]) / (path.cost[stop + 1] - path.cost[stop])
        bound -= max(0.0, part) * float(path.loss[stop] - path.loss[stop + 1])
    classes = _fill(loss, cost, classes, budget)
    tiles = np.arange(loss.shape[0])
    return Allocation(classes, float(cost[tiles, classes].sum()), float(loss[tiles, classes].sum()), bound)


def knee(path: Sweep) -> int:
    """The stop of the sweep farthest below the chord from cheapest to least loss, both axes scaled to 0..1: *bal*."""
    if path.cost.size < 3 or path.cost[-1] == path.cost[0] or path.loss[0] == path.loss[-1]:
        return path.cost.size - 1
    x = (path.cost - path.cost[0]) / (path.cost[-1] - path.cost[0])
    y = (path.loss - path.loss[-1]) / (path.loss[0] - path.loss[-1])
    return int(np.argmax(1 - x - y))


def flatten(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Per-layer arrays [down, across, ...] as one [tiles, ...], layer after layer, row after row."""
    return np.concatenate([part.reshape(-1, *part.shape[2:]) for part in maps])


def unflatten(classes: UInt8[np.ndarray, " tiles"], layers: Sequence[tuple[str, TileGrid]]) -> tuple[TileMap, ...]:
    """The list of classes as one tile map per layer.

    Raises:
        InputError: the layers have another number of tiles.
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
    """The cheapest class of every tile; of equally cheap ones that of least loss."""
    level = np.where(cost == cost.min(axis=1, keepdims=True), loss, np.inf)
    return np.argmin(level, axis=1).astype(np.uint8)


def _fill(loss: np.ndarray, cost: np.ndarray, classes: np.ndarray, budget: float) -> np.ndarray:
    """Spend what is left: of all single changes that fit, take the one that saves most loss, until none does."""
    tiles = np.arange(loss.shape[0])
    classes = classes.copy()
    room = budget - float(cost[tiles, classes].sum())
    while True:
        extra = cost - cost[tiles, classes][:, None]
        saved = np.where(extra <= room, loss[tiles, classes][:, None] - loss, -np.inf)
        tile, target = np.unravel_index(int(np.argmax(saved)), saved.shape)
        if not saved[tile, target] > 0:
            return classes
        room -= float(extra[tile, target])
        classes[tile] = target


def _check(loss: np.ndarray, cost: np.ndarray) -> None:
    if loss.shape != cost.shape or loss.size == 0:
        raise InputError(
            f"loss and cost must be given for the same tiles and classes, not {loss.shape} and {cost.shape}"
        )
    if loss.shape[1] > 256:
        raise InputError(f"classes must be at most 256, not {loss.shape[1]}")
    if not (np.all(np.isfinite(loss)) and np.all(np.isfinite(cost))):
        raise InputError("loss and cost of every tile must be finite, and some are not: calibrate again")
