"""What each layer of a model costs in each class on a machine: simulated, or measured by `haloquant measure-ops`.

Both are those of one decode step: its batch of tokens passes every layer once. The costs of layers add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import decode
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, gaussian_frequency, synthetic_tiles
from haloquant.dvfs.classes import Classes, fastest_classes
from haloquant.dvfs.schedule import Policy
from haloquant.errors import RecipeError
from haloquant.jobs.machines.method_cost import (
    POLICIES,
    best_pass,
    class_points,
    recipe_input_bits,
    with_input_bits,
    with_tile_size,
)
from haloquant.jobs.machines.model_layers import shape_of_checkpoint
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.quant.format.bit_layout import tile_offsets
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Recipe
from haloquant.records import LayerTiles, MacProfile, TileGrid
from haloquant.records.operator_costs import OperatorTable, mix_of
from haloquant.store.platforms import read_operator_table
from haloquant.store.targets import read_systolic

SIMULATED, MEASURED = "simulated:", "measured:"
Costs = Float64[np.ndarray, " classes"]


@dataclass(frozen=True)
class LayerCosts:
    """Seconds and joules of one decode step by layer, with all its tiles in each class; None where none are known.

    `source` says what they are of.
    """

    time_s: Mapping[str, Costs]
    energy_j: Mapping[str, Costs] | None
    source: str


def cost_source(recipe: Recipe) -> Target | OperatorTable | None:
    """Return the machine or the measured table that the cost of a recipe names; None for the MAC's own costs.

    Raises:
        TargetError: There is no such machine. (An InputError.)
        InputError: The table is missing or malformed, or was measured for tiles of another size.
    """
    kind = recipe.quantize.cost
    if kind.startswith(SIMULATED):
        return with_tile_size(read_systolic(kind.removeprefix(SIMULATED)), recipe.hardware.tile)
    if not kind.startswith(MEASURED):
        return None
    table = read_operator_table(Path(kind.removeprefix(MEASURED)))
    if table.tile != recipe.hardware.tile:
        raise RecipeError(
            f"the tile must be {table.tile}, that of the measured products of {kind.removeprefix(MEASURED)}, not "
            f"{recipe.hardware.tile}"
        )
    return table


def check_layer_costs(recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Check that the costs of a recipe are known for every layer of a model.

    Raises:
        InputError: They are not; or energy has a budget, and the table holds none.
    """
    source = cost_source(recipe)
    if isinstance(source, Target):
        ran = {gemm.layer for gemm in decode(shape_of_checkpoint(checkpoint, "model"), 1).gemms}
        lost = [x.name for x in checkpoint.layers if x.name not in ran and expert_family(x.name) is None]
        if lost:
            raise RecipeError(
                f"the simulated step must hold every layer of the model, and lacks {len(lost)}, first {lost[0]}; "
                "choose time, energy, edp or measured:FILE"
            )
    if not isinstance(source, OperatorTable):
        return
    words = tuple(count for _, count, _ in recipe.quantize.class_sizes())
    known = measured_costs(source, checkpoint, words, recipe.workload.decode_batch)
    if recipe.quantize.budget.energy_j and known.energy_j is None:
        raise RecipeError(
            "a budget of energy must be left out with a table without joules; measure-ops holds them where a "
            "counter can be read, or choose a simulated machine"
        )


def layer_costs(recipe: Recipe, checkpoint: Checkpoint, classes: Classes) -> LayerCosts | None:
    """Return what each layer costs in each class but base; None for the MAC's own costs.

    Raises:
        InputError: As `cost_source` and `check_layer_costs`.
    """
    source, batch = cost_source(recipe), recipe.workload.decode_batch
    if source is None:
        return None
    words = tuple(len(book.values) for book in classes.codebooks[:-1])
    if isinstance(source, OperatorTable):
        return measured_costs(source, checkpoint, words, batch)
    return simulated_costs(recipe, source, checkpoint, classes)


def least_costs(recipe: Recipe, checkpoint: Checkpoint, profile: MacProfile) -> LayerCosts | None:
    """Return costs of the layers that no choice of words goes below; None for the MAC's own costs.

    Raises:
        InputError: As `layer_costs`.
    """
    source = cost_source(recipe)
    if isinstance(source, OperatorTable):
        words = tuple(count for _, count, _ in recipe.quantize.class_sizes())
        return measured_costs(source, checkpoint, words, recipe.workload.decode_batch)
    if source is None:
        return None
    hardware = recipe.hardware
    classes = fastest_classes(profile, 0, hardware.margin, [ghz * 1e9 for ghz in hardware.clocks_ghz])
    # The order of tiles that takes the least time with other words may be another one, and take less energy.
    each = [simulated_costs(recipe, source, checkpoint, classes, (policy,)) for policy in POLICIES]
    time_s, energy_j = (
        {name: np.minimum.reduce([kind[name] for kind in kinds]) for name in kinds[0]}
        for kinds in ([one.time_s for one in each], [one.energy_j or {} for one in each])
    )
    return LayerCosts(time_s, energy_j, each[0].source)


def measured_costs(table: OperatorTable, checkpoint: Checkpoint, words: tuple[int, ...], batch: int) -> LayerCosts:
    """Return the measured costs of a model's layers.

    Args:
        table: The measured products.
        checkpoint: The model.
        words: Number of words of each class.
        batch: Tokens that pass a layer at a time.

    Raises:
        InputError: A layer's product is not in the table.
    """
    found = {
        layer.name: table.class_costs((layer.out_features, layer.in_features), words, batch)
        for layer in checkpoint.layers
    }
    energies = {name: joules for name, (_, joules) in found.items() if joules is not None}
    mixes = ", ".join(dict.fromkeys(map(mix_of, words)))
    return LayerCosts(
        {name: seconds for name, (seconds, _) in found.items()},
        energies if len(energies) == len(found) else None,
        f"measured on {table.device} with {table.threads} thread(s) at {batch} token(s) ({mixes} words)",
    )


def simulated_costs(
    recipe: Recipe,
    target: Target,
    checkpoint: Checkpoint,
    classes: Classes,
    policies: Sequence[Policy] = POLICIES,
) -> LayerCosts:
    """Return the costs of a decode step on a machine, from one simulation for each class with all tiles in it.

    Weights are drawn as Gaussian ones that are rounded to the words of the class. Transitions between classes are not
    in the costs.

    Args:
        recipe: Sizes of the decode step and of the tiles, and the budget of the sparse part.
        target: The machine.
        checkpoint: The model.
        classes: The classes.
        policies: The orders of tiles to choose from, by their time.
    """
    shape = shape_of_checkpoint(checkpoint, checkpoint.folder.name)
    workload = decode(shape, recipe.workload.decode_context, recipe.workload.decode_batch)
    points, books, tile = class_points(target, classes), classes.codebooks[:-1], recipe.hardware.tile
    times = {layer.name: np.zeros(len(books)) for layer in checkpoint.layers}
    energies = {layer.name: np.zeros(len(books)) for layer in checkpoint.layers}
    for index, book in enumerate(books):
        mix = [
            ClassMix(float(number == index), other.values, gaussian_frequency(other.values))
            for number, other in enumerate(books)
        ]
        tiles: dict[str, LayerTiles] = {}
        for layer in checkpoint.layers:
            grid = make_grid(layer.out_features, layer.in_features, tile, tile)
            encoding = Encoding(code_bits(grid, len(book.values)), sparse_share=recipe.quantize.sparse_budget)
            tiles[layer.name] = synthetic_tiles(layer.name, grid, mix, encoding)
        tiles = with_input_bits(tiles, recipe_input_bits(recipe))
        ran = best_pass(workload, tiles, points, target, classes, book.name, policies=policies).simulation
        for row in ran.layers:
            if row.layer in times:
                times[row.layer][index] = row.cost.total_time_s
                energies[row.layer][index] = row.cost.total_energy_j
    for part in (times, energies):
        _share_among_experts(part)
    batch = recipe.workload.decode_batch
    return LayerCosts(times, energies, f"simulated on {target.name} in a decode step of {batch} token(s)")


def _share_among_experts(costs: dict[str, np.ndarray]) -> None:
    """Give every layer of a family of experts the mean of the family: which of them a token takes is not known."""
    families: dict[str, list[str]] = {}
    for name in costs:
        if (family := expert_family(name)) is not None:
            families.setdefault(family, []).append(name)
    for names in families.values():
        mean = np.mean(np.stack([costs[name] for name in names]), axis=0)
        for name in names:
            costs[name] = mean


def code_bits(grid: TileGrid, words: int) -> float:
    """Return the stored bits of a weight's code in a layer whose tiles have a number of words."""
    stored_b = int(tile_offsets(grid, np.zeros((grid.down, grid.across), np.uint8), (words,))[-1])
    return 8 * stored_b / (grid.out_features * grid.in_features)
