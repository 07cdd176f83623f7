"""Time and energy of a method on a machine: operating points of its classes, schedule, and simulation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from haloquant.accel.results import Simulation
from haloquant.accel.simulation import simulate
from haloquant.accel.target import Target
from haloquant.accel.workload.model_shapes import ModelShape, named_shape
from haloquant.accel.workload.prefill_decode import Workload, decode, prefill
from haloquant.accel.workload.side_branches import with_branches
from haloquant.dvfs.classes import Classes
from haloquant.dvfs.schedule import Policy, plan
from haloquant.jobs.machines.model_layers import shape_of_checkpoint
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.recipe import Recipe
from haloquant.records import InputBits, LayerTiles, OperatingPoint, Schedule

# Islands are left out: they need several arrays with the same load. `haloquant schedule --policy` offers them.
POLICIES = (Policy.PANEL, Policy.SERPENTINE, Policy.NONE)

# Takes a supply in volts; returns the delay at that supply relative to the delay at the base supply.
DelayLaw = Callable[[float], float]


def constant_delay(voltage_v: float) -> float:
    """Return 1: the delay law of a machine that stays at its base supply."""
    return 1.0


def pass_time_s(simulation: Simulation) -> float:
    """Return the time of a pass in seconds."""
    return simulation.time_s


def pass_energy_j(simulation: Simulation) -> float:
    """Return the energy of a pass in joules."""
    return simulation.total.total_energy_j


@dataclass(frozen=True)
class ScheduledPass:
    """The simulation of a pass, and the schedule that it ran."""

    simulation: Simulation
    schedule: Schedule


def recipe_workloads(shape: ModelShape, recipe: Recipe) -> tuple[Workload, Workload]:
    """Return the prefill and the decode step of a recipe."""
    wanted = recipe.workload
    return prefill(shape, wanted.prefill_tokens), decode(shape, wanted.decode_context, wanted.decode_batch)


def recipe_shape(recipe: Recipe, checkpoint: Checkpoint, name: str) -> ModelShape:
    """Return the shape that a recipe simulates: the model's own, called `name`, or a named shape."""
    if recipe.workload.shapes == "model":
        return shape_of_checkpoint(checkpoint, name)
    return named_shape(recipe.workload.shapes)


def recipe_input_bits(recipe: Recipe) -> InputBits | None:
    """Return the bits to which a recipe rounds the inputs of layers; None where it does not round them."""
    quantize = recipe.quantize
    if quantize.activations == "none":
        return None
    if quantize.activations != "mixed":
        return InputBits(quantize.activation_bits)
    return InputBits(quantize.activation_bits, quantize.low_bits, quantize.low_share)


def with_input_bits(
    tiles: Mapping[str, LayerTiles], bits: InputBits | None, low_shares: Mapping[str, float] | None = None
) -> dict[str, LayerTiles]:
    """Return the tiles of layers with inputs of these bits; None leaves them as wide as the MAC's.

    `low_shares` holds the share of the tokens in low bits by layer, where it was measured.
    """
    if bits is None:
        return dict(tiles)
    known = low_shares or {}
    return {
        name: replace(part, input_bits=replace(bits, low_share=known[name]) if name in known else bits)
        for name, part in tiles.items()
    }


def with_tile_size(target: Target, tile: int) -> Target:
    """Return the machine with arrays of tile x tile and about the same number of multipliers.

    The accumulator memory and the static power are given per array; their totals are divided among the new arrays.
    """
    array = target.array
    if array.rows == array.columns == tile:
        return target
    count = max(1, round(array.rows * array.columns * array.count / tile**2))
    share = replace(target.accumulator, size_b=target.accumulator.size_b * array.count / count)
    static = replace(target.static, array_w=target.static.array_w * array.count / count)
    return replace(target, array=replace(array, rows=tile, columns=tile, count=count), accumulator=share, static=static)


def class_points(target: Target, classes: Classes) -> tuple[OperatingPoint, ...]:
    """Return the operating point of every class on a machine.

    On a machine with claimed clocks (`paper_tpu`) the classes get the machine's own points: the fastest class
    gets the fastest point. On any other machine a class runs at the base clock times the ratio that this MAC's delays
    allow, at the base supply; the supply is not raised for speed.
    """
    if target.array.claimed_clocks:
        ranked = [target.points[min(i, len(target.points) - 1)] for i in range(len(classes.codebooks))]
        return tuple(reversed(ranked))
    base = target.base
    return tuple(
        OperatingPoint(base.voltage_v, base.frequency_hz * classes.clock_ratio(index))
        for index in range(len(classes.codebooks))
    )


def single_class_point(target: Target, ratio: float) -> tuple[OperatingPoint, ...]:
    """Return the operating point of a method with one class, whose values allow `ratio` times the base clock.

    On a machine with claimed clocks it is the base point.
    """
    base = target.base
    if target.array.claimed_clocks:
        return (base,)
    return (OperatingPoint(base.voltage_v, base.frequency_hz * ratio),)


def delays_on_target(classes: Classes, target: Target) -> Float64[np.ndarray, " w"]:
    """Return the delay of every weight value on a machine, in seconds.

    The MAC's delays are scaled so that the slowest value takes one period of the machine's base clock.
    """
    delay = classes.profile.delay_s[classes.corner]
    return delay * (target.base.period_s / float(delay.max()))


def best_pass(
    workload: Workload,
    tiles: Mapping[str, LayerTiles],
    points: tuple[OperatingPoint, ...],
    target: Target,
    classes: Classes,
    system: str,
    law: DelayLaw = constant_delay,
    policies: Sequence[Policy] = POLICIES,
    cost: Callable[[Simulation], float] = pass_time_s,
    untiled: OperatingPoint | None = None,
) -> ScheduledPass:
    """Schedule and simulate one pass by every policy, and return the result with the lowest cost.

    A compiler would choose the policy in the same way, because it knows the machine.

    Args:
        workload: The pass.
        tiles: The tiles of every quantized layer; empty for floating point. Experts that do not run are left out. Side
            branches are products of their own.
        points: The operating point of each class.
        target: The machine.
        classes: Classes of the MAC; every tile's clock is checked against the MAC's delays.
        system: A name for the result.
        law: Delay at a supply relative to the delay at the base supply.
        policies: The orders of tiles to try.
        cost: The cost of a simulated pass; by default its time.
        untiled: The operating point of layers without tiles; None means the machine's base point.
    """
    ran = {gemm.layer for gemm in workload.gemms}
    tiles = {name: part for name, part in tiles.items() if name in ran or expert_family(name) is None}
    workload, tiles = with_branches(workload, tiles)
    passes = [
        _schedule_and_simulate(workload, tiles, points, target, classes, system, p, law, untiled or target.base)
        for p in policies
    ]
    return min(passes, key=lambda found: cost(found.simulation))


def _schedule_and_simulate(
    workload: Workload,
    tiles: Mapping[str, LayerTiles],
    points: tuple[OperatingPoint, ...],
    target: Target,
    classes: Classes,
    system: str,
    policy: Policy,
    law: DelayLaw,
    untiled: OperatingPoint,
) -> ScheduledPass:
    schedule = plan(workload.gemms, tiles, points, untiled, policy, target.accumulator_b, target.array.count)
    delays = delays_on_target(classes, target)
    simulation = simulate(
        workload,
        tiles,
        schedule,
        target,
        classes.profile,
        corner=classes.corner,
        delay_at=lambda voltage_v: delays * law(voltage_v),
        kv_bits=16 if not tiles else 8,
        system=system,
    )
    return ScheduledPass(simulation, schedule)
