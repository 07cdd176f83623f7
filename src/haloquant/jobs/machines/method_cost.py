"""What a method costs on a machine: the machine's points for each class, the schedule, the simulation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from haloquant.accel.results import Simulation
from haloquant.accel.simulation import simulate
from haloquant.accel.target import Target
from haloquant.accel.workload.model_shapes import ModelShape, named_shape, shape_from_config
from haloquant.accel.workload.passes import Workload, decode, prefill
from haloquant.dvfs.classes import Classes
from haloquant.dvfs.schedule import Policy, plan
from haloquant.jobs.inputs import read_config
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.recipe import Recipe
from haloquant.records import LayerTiles, OperatingPoint, Schedule

# Islands need several arrays and an even load; they are left to `haloquant schedule --policy`.
POLICIES = (Policy.PANEL, Policy.SERPENTINE, Policy.NONE)


Law = Callable[[float], float]


def unchanged(voltage_v: float) -> float:
    """The law of a machine that stays at its base supply."""
    return 1.0


def fastest(simulation: Simulation) -> float:
    """Time of a pass."""
    return simulation.time_s


def thriftiest(simulation: Simulation) -> float:
    """Energy of a pass."""
    return simulation.total.total_energy_j


@dataclass(frozen=True)
class Run:
    """A simulated pass and the schedule it followed."""

    simulation: Simulation
    schedule: Schedule


def workloads(shape: ModelShape, recipe: Recipe) -> tuple[Workload, Workload]:
    """The prefill and the decode step that a recipe asks for."""
    asked = recipe.workload
    return prefill(shape, asked.prefill_tokens), decode(shape, asked.decode_context, asked.decode_batch)


def shape_of(recipe: Recipe, checkpoint: Checkpoint, name: str) -> ModelShape:
    """The model's own shape, or a named one."""
    if recipe.workload.shapes == "model":
        return shape_from_config(read_config(checkpoint.folder), name)
    return named_shape(recipe.workload.shapes)


def with_array(target: Target, tile: int) -> Target:
    """The machine with arrays of tile x tile and as many multipliers as before: the ablation of tile sizes."""
    array = target.array
    if array.rows == array.columns == tile:
        return target
    count = max(1, round(array.rows * array.columns * array.count / tile**2))
    # Accumulators are given per array: what was there is shared out.
    share = replace(target.accumulator, size_b=target.accumulator.size_b * array.count / count)
    static = replace(target.static, array_w=target.static.array_w * array.count / count)
    return replace(target, array=replace(array, rows=tile, columns=tile, count=count), accumulator=share, static=static)


def class_points(target: Target, classes: Classes) -> tuple[OperatingPoint, ...]:
    """The operating point of every class on a machine.

    A machine whose clocks are a claim (`paper_tpu`) lends its own points, fastest class to fastest point. Any other
    runs its base clock times the ratio that this MAC's delays allow, at the base supply: no volt is added for speed.
    """
    if target.array.claimed_clocks:
        ranked = [target.points[min(i, len(target.points) - 1)] for i in range(len(classes.codebooks))]
        return tuple(reversed(ranked))
    base = target.base
    return tuple(
        OperatingPoint(base.voltage_v, base.frequency_hz * classes.clock_ratio(index))
        for index in range(len(classes.codebooks))
    )


def single_point(target: Target, ratio: float) -> tuple[OperatingPoint, ...]:
    """The point of a method with one class whose values run `ratio` times the base clock on this MAC."""
    base = target.base
    if target.array.claimed_clocks:
        return (base,)
    return (OperatingPoint(base.voltage_v, base.frequency_hz * ratio),)


def carried_delays(classes: Classes, target: Target) -> Float64[np.ndarray, " w"]:
    """Delay of every weight value on a machine whose base clock is what the MAC's slowest value meets there."""
    delay = classes.profile.delay_s[classes.corner]
    return delay * (target.base.period_s / float(delay.max()))


def run_on(
    workload: Workload,
    tiles: Mapping[str, LayerTiles],
    points: tuple[OperatingPoint, ...],
    target: Target,
    classes: Classes,
    system: str,
    law: Law = unchanged,
    policies: Sequence[Policy] = POLICIES,
    best: Callable[[Simulation], float] = fastest,
) -> Run:
    """Schedule and simulate one pass by every policy, and keep the best: a compiler would know the machine too.

    Args:
        workload: the pass.
        tiles: what stands in the tiles of every quantized layer; none for floating point.
        points: of each class.
        target: the machine.
        classes: of the MAC, whose delays every tile's clock is held to.
        system: a name.
        law: delay at a supply relative to the delay at the base supply.
        policies: orders to try.
        best: what the kept one has least of: time, by default.
    """
    runs = [_run(workload, tiles, points, target, classes, system, policy, law) for policy in policies]
    return min(runs, key=lambda run: best(run.simulation))


def _run(
    workload: Workload,
    tiles: Mapping[str, LayerTiles],
    points: tuple[OperatingPoint, ...],
    target: Target,
    classes: Classes,
    system: str,
    policy: Policy,
    law: Law,
) -> Run:
    schedule = plan(workload.gemms, tiles, points, target.base, policy, target.accumulator_b, target.array.count)
    carried = carried_delays(classes, target)
    simulation = simulate(
        workload,
        tiles,
        schedule,
        target,
        classes.profile,
        corner=classes.corner,
        delay_at=lambda voltage_v: carried * law(voltage_v),
        kv_bits=16 if not tiles else 8,
        system=system,
    )
    return Run(simulation, schedule)
