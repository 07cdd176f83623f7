"""The goal *bal* within budgets: bits per weight, and seconds and joules of a decode step.

The least predicted loss within all budgets takes the place of the knee of the path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from haloquant.jobs.quantize.layer_costs import LayerCosts, least_costs
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.quant.budgets import BudgetedAllocation, Resource, check_feasible, least_loss, least_loss_exact
from haloquant.quant.format.bit_layout import tile_bytes
from haloquant.quant.tiles import make_grid, tile_columns, tile_rows
from haloquant.recipe import Budget, Recipe
from haloquant.records import MacProfile, TileGrid

TileCosts = Float64[np.ndarray, "tiles classes"]


@dataclass(frozen=True)
class WithinBudget:
    """The class of every tile within the budgets, and a sentence on what they use and how far the loss is from best."""

    classes: UInt8[np.ndarray, " tiles"]
    note: str


def tile_bits(grids: Mapping[str, TileGrid], words: Sequence[int]) -> TileCosts:
    """Return the stored bits of the codes of every tile in each class, layer after layer, row after row."""
    parts: list[np.ndarray] = []
    for grid in grids.values():
        rows, cols = tile_rows(grid), tile_columns(grid)
        stored = {
            (row, col): [8.0 * tile_bytes(row, col, size) for size in words]
            for row in set(rows.tolist())
            for col in set(cols.tolist())
        }
        parts += [np.array([stored[row, col] for col in cols.tolist()]) for row in rows.tolist()]
    return np.concatenate(parts)


def tile_shares(grids: Mapping[str, TileGrid]) -> dict[str, Float64[np.ndarray, " tiles"]]:
    """Return the share of its layer's weights that each tile holds, by layer."""
    return {
        name: (np.outer(tile_rows(grid), tile_columns(grid)) / (grid.out_features * grid.in_features)).ravel()
        for name, grid in grids.items()
    }


def spread(grids: Mapping[str, TileGrid], costs: Mapping[str, np.ndarray]) -> TileCosts:
    """Return the cost of every tile in each class: its layer's cost times its share of the layer's weights."""
    shares = tile_shares(grids)
    return np.concatenate([np.outer(shares[name], costs[name]) for name in grids])


def budget_resources(
    budget: Budget,
    grids: Mapping[str, TileGrid],
    words: Sequence[int],
    costs: LayerCosts | None,
    sparse_bits: float,
) -> list[Resource]:
    """Return the resources that a recipe limits.

    The bits per weight are those of codes, scales, classes of tiles and sparse part.

    Args:
        budget: The limits.
        grids: Tiles of every layer.
        words: Number of words of each class.
        costs: Seconds and joules of every layer in each class; not needed without budgets for them.
        sparse_bits: Stored bits of the sparse part of all layers.

    Raises:
        ValueError: Time or energy has a budget and its costs are not known; `jobs.recipe_checks` refuses such a recipe.
    """
    found: list[Resource] = []
    weights = sum(grid.out_features * grid.in_features for grid in grids.values())
    if budget.bits_per_weight:
        scales_and_maps = sum(16 * g.out_features * g.across + 8 * g.down * g.across for g in grids.values())
        fixed = sparse_bits + scales_and_maps + len(grids) * (64 + 8 * sum(words))  # with shapes and words
        bits = tile_bits(grids, words) / weights + fixed / weights / len(tile_of_layer(grids))
        found.append(Resource("size", "bits per weight", bits, budget.bits_per_weight))
    for name, unit, limit, known in (
        ("time", "s", budget.time_s, None if costs is None else costs.time_s),
        ("energy", "J", budget.energy_j, None if costs is None else costs.energy_j),
    ):
        if not limit:
            continue
        if known is None:
            raise ValueError(f"a budget of {name} must have the costs of layers")
        found.append(Resource(name, unit, spread(grids, known), limit))
    return found


def check_budgets(recipe: Recipe, checkpoint: Checkpoint, profile: MacProfile) -> None:
    """Refuse budgets that no words of a MAC can meet, before any work. The sparse part comes on top, and may be empty.

    Raises:
        InfeasibleError: A budget is too small. The sentence says what it must be at least.
        InputError: The costs of the layers are not known (`layer_costs.check_layer_costs`).
        ProfileError: The profile lacks the value 0.
    """
    budget, tile = recipe.quantize.budget, recipe.hardware.tile
    if not budget.limited:
        return
    grids = {layer.name: make_grid(layer.out_features, layer.in_features, tile, tile) for layer in checkpoint.layers}
    costs = least_costs(recipe, checkpoint, profile) if budget.time_s or budget.energy_j else None
    least_of = f"the least that words of {profile.name} take without a sparse part"
    check_feasible(budget_resources(budget, grids, (1, 1), costs, 0.0), least_of)


def allocate_within(
    loss: TileCosts, resources: Sequence[Resource], grids: Mapping[str, TileGrid], budget: Budget, source: str
) -> WithinBudget:
    """Return the classes of least loss within all budgets, for every tile or for every layer as a whole.

    Args:
        loss: Loss of every tile in each class in nats.
        resources: What is limited.
        grids: Tiles of every layer.
        budget: The limits, and whether tiles or layers get a class.
        source: The machine or MAC whose times and energies they are; the sentence names it.

    Raises:
        InfeasibleError: No allocation is within all budgets; the sentence says the least that would do.
    """
    if budget.level == "layer":
        first = np.concatenate([[0], np.cumsum([grid.down * grid.across for grid in grids.values()])[:-1]])
        summed = [Resource(one.name, one.unit, np.add.reduceat(one.use, first), one.most) for one in resources]
        found = least_loss_exact(np.add.reduceat(loss, first), summed)
        return WithinBudget(found.classes[tile_of_layer(grids)], _note(found, resources, "layer", source))
    found = least_loss(loss, resources)
    return WithinBudget(found.classes, _note(found, resources, "tile", source))


def tile_of_layer(grids: Mapping[str, TileGrid]) -> np.ndarray:
    """Return the number of the layer of every tile."""
    return np.repeat(np.arange(len(grids)), [grid.down * grid.across for grid in grids.values()])


def _note(found: BudgetedAllocation, resources: Sequence[Resource], level: str, source: str) -> str:
    used = ", ".join(
        f"{one.name} {use:.4g} of {one.most:.4g} {one.unit}" for one, use in zip(resources, found.used, strict=True)
    )
    timed = f" ({source})" if any(one.name != "size" for one in resources) else ""
    share = found.gap / found.loss if found.loss > 0 else 0.0
    return (
        f"bal is chosen by {level} within budgets: {used}{timed}; its predicted loss {found.loss:.4g} is at most "
        f"{share:.2%} above the least possible"
    )
