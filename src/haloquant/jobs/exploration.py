"""The Pareto front over MACs, tile sizes and classes: each point really quantized, evaluated and simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from haloquant.jobs.compare.method_steps import halo_method
from haloquant.jobs.compare.method_steps import method as make
from haloquant.jobs.compare.results import fast_fraction
from haloquant.jobs.compare.workbench import Workbench
from haloquant.jobs.engine.session import run_tasks
from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.inputs import Progress, read_inputs, silent
from haloquant.jobs.machines import method_cost
from haloquant.recipe import Recipe
from haloquant.report.charts.exploration import Point
from haloquant.store.atomic_files import claim_output, sole_user, write_bytes
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic


@dataclass(frozen=True)
class Task:
    """One (MAC, tile size) with the recipe that the rest comes from."""

    recipe: Recipe
    out: Path


def explore(
    recipe: Recipe,
    profiles: Sequence[str],
    tiles: Sequence[int],
    out: Path,
    engine: Engine,
    progress: Progress = silent,
) -> list[Point]:
    """Every combination's points, with the best of each target and phase marked; kept in `out/explore.json`.

    Raises:
        HaloquantError: an input is wrong, found before any work.
    """
    read_inputs(recipe)
    for name in profiles:
        find_profile(name)
    claim_output(out)
    replace = msgspec.structs.replace
    tasks = [
        Task(replace(recipe, hardware=replace(recipe.hardware, profile=profile, tile=tile)), out)
        for profile in profiles
        for tile in tiles
    ]
    with sole_user(out):
        found = run_tasks(one, tasks, engine, lambda done, total: progress("explore", done, total))
        points = mark_best([point for part in found for point in part])
        write_bytes(out / "explore.json", msgspec.json.format(msgspec.json.encode(points), indent=1))
    return points


def one(task: Task) -> list[Point]:
    """The points of one MAC and tile size: every goal on every machine in both phases."""
    recipe = task.recipe
    inputs, profile = read_inputs(recipe), find_profile(recipe.hardware.profile)
    bench = Workbench(recipe, inputs, profile, task.out, silent)
    work = method_cost.workloads(method_cost.shape_of(recipe, inputs.checkpoint, inputs.name), recipe)
    points: list[Point] = []
    for goal in recipe.quantize.goals:
        method = make(bench, halo_method(bench, f"halo-{goal}", bench.allocator.stop(goal)))
        for name in recipe.hardware.targets:
            target = method_cost.with_array(read_systolic(name), recipe.hardware.tile)
            for workload in work:
                run = method_cost.run_on(
                    workload, method.tiles, method_cost.class_points(target, bench.classes), target, bench.classes, goal
                )
                total, accuracy = run.simulation.total, method.accuracy
                points.append(
                    Point(
                        profile.name,
                        recipe.hardware.tile,
                        goal,
                        target.name,
                        workload.phase,
                        fast_fraction(method.tiles),
                        method.bits.per_weight,
                        accuracy.perplexity if accuracy.perplexity_a8 is None else accuracy.perplexity_a8,
                        total.total_time_s,
                        total.total_energy_j,
                        bench.classes.clock_ratio(0),
                        bench.classes.codebooks[0].point.period_s,
                    )
                )
    return points


def mark_best(points: Sequence[Point]) -> list[Point]:
    """The same points, those on the Pareto front of their target and phase marked."""

    def beaten(point: Point) -> bool:
        rivals = [_figures(other) for other in points if (other.target, other.phase) == (point.target, point.phase)]
        mine = _figures(point)
        return any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in rivals)

    return [msgspec.structs.replace(point, best=not beaten(point)) for point in points]


def _figures(point: Point) -> tuple[float, float, float]:
    return (point.perplexity, point.time_s, point.energy_j)
