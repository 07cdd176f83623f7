"""Which class each tile of a model gets: the path of allocations from all fast to all slow, and the goals on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from haloquant.accel.workload.synthetic_tiles import gaussian_frequency
from haloquant.dvfs.classes import Classes
from haloquant.dvfs.operating_points import rows_of
from haloquant.jobs.quantize.budgets import WithinBudget, allocate_within, budget_resources, spread
from haloquant.jobs.quantize.layer_costs import LayerCosts
from haloquant.quant.allocation import Sweep, knee, sweep, unflatten
from haloquant.quant.paper_method import kept_shares, slow_order
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.recipe import CostOf, Goal, Quantize
from haloquant.records import TileGrid, TileMap

FAST, SLOW = 0, 1  # indices of the classes; the fastest class comes first


@dataclass(frozen=True)
class Allocator:
    """The tiles of a model, their predicted losses, and the path of allocations from all fast to all slow.

    `loss` is [tiles, classes] in nats, without the base class. `accurate` is the position of *acc-opt* on the path, if
    that is not the allocation of all slow tiles. `within` is *bal* where budgets limit it.
    """

    grids: Mapping[str, TileGrid]
    loss: np.ndarray
    path: Sweep
    accurate: int | None = None
    within: WithinBudget | None = None

    def stop(self, goal: Goal) -> int:
        """Return the position of a goal on the path: its first point, its knee, or its last point (or `accurate`)."""
        last = len(self.path.cost) - 1 if self.accurate is None else self.accurate
        return {"perf-opt": 0, "bal": knee(self.path), "acc-opt": last}[goal]

    def goal_maps(self, goal: Goal) -> dict[str, TileMap]:
        """Return the class of every tile for a goal, by layer."""
        if goal == "bal" and self.within is not None:
            return self._by_layer(self.within.classes)
        measured = goal == "bal" or (goal == "acc-opt" and self.accurate is not None)
        return self.maps(self.stop(goal)) if measured else uniform_maps(self.grids, goal)

    def maps(self, stop: int) -> dict[str, TileMap]:
        """Return the class of every tile at a position of the path, by layer."""
        return self._by_layer(self.path.at(stop))

    def _by_layer(self, classes: np.ndarray) -> dict[str, TileMap]:
        return {part.layer: part for part in unflatten(classes, list(self.grids.items()))}


def uniform_maps(grids: Mapping[str, TileGrid], goal: Goal) -> dict[str, TileMap]:
    """Return one class for all tiles, by layer: the fast class for `perf-opt`, the slow class for `acc-opt`."""
    index = {"perf-opt": FAST, "acc-opt": SLOW}[goal]
    return {layer: uniform_map(layer, grid, index) for layer, grid in grids.items()}


def layer_grids(shapes: Mapping[str, tuple[int, int]], tile: int) -> dict[str, TileGrid]:
    """Return how each layer of shape (out, in) is cut into tiles of tile x tile."""
    return {layer: make_grid(*shape, tile, tile) for layer, shape in shapes.items()}


def choose_allocator(
    settings: Quantize,
    grids: Mapping[str, TileGrid],
    loss: np.ndarray,
    classes: Classes,
    sensitivity: Callable[[], Mapping[str, np.ndarray]],
    costs: LayerCosts | None = None,
    sparse_bits: float = 0.0,
) -> Allocator:
    """Return the path of allocations that a recipe's settings ask for, and *bal* within its budgets.

    Args:
        settings: The method, and what a tile costs.
        grids: Tiles of every layer.
        loss: Predicted loss [tiles, classes] in nats, without the base class.
        classes: The classes.
        sensitivity: Returns the sensitivity of every tile by layer; only the paper's method calls it.
        costs: What the layers cost on the machine that `settings.cost` names; None for the MAC's own costs.
        sparse_bits: Stored bits of the sparse part of all layers.

    Raises:
        InfeasibleError: The budgets cannot be met.
    """
    if costs is not None:
        cost = spread(grids, costs.time_s)
    else:
        kind = cast(CostOf, settings.cost)
        cost = tile_cost(grids, class_cost(classes, kind), kind)
    if settings.method == "paper":
        return paper_allocator(grids, loss, cost, sensitivity(), settings.kept_share)
    made = build_allocator(grids, loss, cost)
    if not settings.budget.limited:
        return made
    resources = budget_resources(settings.budget, grids, words_of(classes), costs, sparse_bits)
    source = "" if costs is None else costs.source
    return replace(made, within=allocate_within(loss, resources, grids, settings.budget, source))


def words_of(classes: Classes) -> tuple[int, ...]:
    """Return the number of words of each class but base."""
    return tuple(len(book.values) for book in classes.codebooks[:-1])


def class_cost(classes: Classes, kind: CostOf) -> np.ndarray:
    """Return what one tile costs in each class but base: its clock period in s, its energy in J, or their product.

    The energy is that of one multiplication by Gaussian weights that are rounded to the words of the class, at the
    supply at which the profile was characterized.
    """
    books = classes.codebooks[:-1]
    period_s = np.array([book.point.period_s for book in books])
    if kind == "time":
        return period_s
    energies = classes.profile.energy_j[classes.corner]
    energy_j = np.array(
        [gaussian_frequency(book.values) @ energies[rows_of(classes.profile, book.values)] for book in books]
    )
    return energy_j if kind == "energy" else energy_j * period_s


def tile_cost(grids: Mapping[str, TileGrid], cost: np.ndarray, kind: CostOf) -> np.ndarray:
    """Return what each tile costs in each class [tiles, classes], layer after layer, row after row.

    A tile at the border, which is not full, takes as many cycles as a full one. Its energy is that of its weights.
    """
    shares = [np.outer(_filled(g.out_features, g.tile_out), _filled(g.in_features, g.tile_in)) for g in grids.values()]
    share = np.concatenate([part.ravel() for part in shares])[:, None]
    return cost[None] * (np.ones_like(share) if kind == "time" else share)


def _filled(features: int, tile: int) -> np.ndarray:
    """Return the share of each tile's rows, or columns, that hold weights."""
    return np.minimum(features - np.arange(0, features, tile), tile) / tile


def build_allocator(grids: Mapping[str, TileGrid], loss: np.ndarray, cost: np.ndarray) -> Allocator:
    """Return the path of allocations with the least loss for what the tiles cost.

    Args:
        grids: Tiles of every layer.
        loss: Predicted loss [tiles, classes] in nats, without the base class.
        cost: Cost of every tile in each class (`tile_cost`), or one row for all tiles (`class_cost`).
    """
    return Allocator(grids, loss, sweep(loss, np.broadcast_to(cost, loss.shape).copy()))


def paper_allocator(
    grids: Mapping[str, TileGrid],
    loss: np.ndarray,
    cost: np.ndarray,
    sensitivity: Mapping[str, np.ndarray],
    kept_share: float,
) -> Allocator:
    """Return the path of the paper's rule: tiles become slow as the share of each layer's sensitivity grows.

    *acc-opt* keeps `kept_share` of the sensitivity of every layer in slow tiles; *bal* is the knee of predicted loss
    over cost on the path.

    Args:
        grids: Tiles of every layer.
        loss: Predicted loss [tiles, 2] in nats.
        cost: Cost of every tile in each of the two classes, or one row for all tiles.
        sensitivity: Sensitivity of every tile by layer: the mean of g^2 over its weights.
        kept_share: The share.
    """
    shares = kept_shares({layer: sensitivity[layer] for layer in grids})
    order = slow_order(shares)
    tiles = len(shares)
    each = np.broadcast_to(cost, loss.shape)
    dearer = each[order, SLOW] - each[order, FAST]
    costs = float(each[:, FAST].sum()) + np.concatenate([[0.0], np.cumsum(dearer)])
    change = loss[order, SLOW] - loss[order, FAST]
    losses = float(loss[:, FAST].sum()) + np.concatenate([[0.0], np.cumsum(change)])
    path = Sweep(np.full(tiles, FAST, np.uint8), order, np.full(tiles, SLOW, np.uint8), costs, losses)
    return Allocator(grids, loss, path, int((shares < kept_share).sum()))
