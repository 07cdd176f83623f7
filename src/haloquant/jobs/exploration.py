"""Search the Pareto front over MACs, tile sizes and goals; every point is quantized, evaluated and simulated.

The goals are joined by points of HALO's path of allocations (`quantize.sweep`). The knee of measured perplexity over
time among them is how the HALO paper chooses its variant *bal* (its figure 9); ours is the knee of predicted loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from haloquant.accel.elements import Element
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.jobs.compare.job import open_inputs
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import MethodStep, finish_methods, halo_method, sweep_methods
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.devices import job_devices, with_devices
from haloquant.jobs.engine.session import run_tasks
from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.inputs import Progress, read_inputs, silent
from haloquant.jobs.machines import method_cost
from haloquant.jobs.machines.new_silicon_studies import best_runs, elements_for, reasons_left_out
from haloquant.jobs.machines.systems import QuantizedModel
from haloquant.jobs.provenance import step_versions
from haloquant.jobs.quantize.stored_calibration import remove_calibrations
from haloquant.jobs.recipe_checks import check_profile
from haloquant.quant.allocation import knee_of
from haloquant.recipe import Recipe
from haloquant.report.charts.exploration import NewSiliconCost, Point
from haloquant.store.atomic_files import claim_output, sole_user, write_bytes
from haloquant.store.finished_steps import Steps
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic

ON_NEW_SILICON = ("HALO", "W4A8")


@dataclass(frozen=True)
class ExplorationTask:
    """One MAC and tile size, as a recipe; `out` is the output folder of the whole search."""

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
    """Return the points of all combinations of MACs and tile sizes, and write them to `out/explore.json`.

    The points on the Pareto front of their target and phase are marked as best, and the knee of each MAC and tile size.

    Args:
        recipe: The settings that the combinations share.
        profiles: The MACs: names of profiles, or files.
        tiles: The tile sizes.
        out: The output folder; finished steps in it are reused.
        engine: Where the combinations run.
        progress: Called with the name of a task, its parts done and its parts in all.

    Raises:
        HaloquantError: An input is wrong; this is found before any work.
    """
    replace = msgspec.structs.replace
    devices = job_devices(recipe.device, engine)
    recipe, engine = replace(recipe, device=devices[0]), with_devices(engine, devices)
    open_inputs(recipe)
    for name in profiles:
        check_profile(find_profile(name, recipe.hardware.delay_basis))
    claim_output(out)
    tasks = [
        ExplorationTask(replace(recipe, hardware=replace(recipe.hardware, profile=profile, tile=tile)), out)
        for profile in profiles
        for tile in tiles
    ]
    with sole_user(out):
        found = run_tasks(explore_one, tasks, engine, lambda done, total: progress("explore", done, total))
        points = mark_knees(mark_best([point for part in found for point in part]))
        remove_calibrations(Steps(out / "steps", step_versions()))
        write_bytes(out / "explore.json", msgspec.json.format(msgspec.json.encode(points), indent=1))
    return points


def explore_one(task: ExplorationTask) -> list[Point]:
    """Return the points of one MAC and tile size: goals and points of the path on every machine in both phases."""
    recipe = task.recipe
    inputs, profile = read_inputs(recipe), find_profile(recipe.hardware.profile, recipe.hardware.delay_basis)
    job = JobSteps(recipe, inputs, profile, task.out, silent)
    shape = method_cost.recipe_shape(recipe, inputs.checkpoint, inputs.name)
    passes = method_cost.recipe_workloads(shape, recipe)
    points: list[Point] = []
    methods = finish_methods(job, {**_goals(job), **sweep_methods(job)})
    for goal, method in methods.items():
        for name in recipe.hardware.targets:
            target = method_cost.with_tile_size(read_systolic(name), recipe.hardware.tile)
            elements = elements_for(profile, target)
            model = QuantizedModel(inputs.name, shape, job.classes, method.tiles, fast_fraction(method.tiles))
            left_out = list(reasons_left_out(model, target, elements, ON_NEW_SILICON))
            for workload in passes:
                run = method_cost.best_pass(
                    workload, method.tiles, method_cost.class_points(target, job.classes), target, job.classes, goal
                )
                total = run.simulation.total
                points.append(
                    Point(
                        profile.name,
                        recipe.hardware.tile,
                        goal,
                        target.name,
                        workload.phase,
                        fast_fraction(method.tiles),
                        method.bits.per_weight,
                        method.accuracy.final_perplexity,
                        total.total_time_s,
                        total.total_energy_j,
                        job.classes.clock_ratio(0),
                        job.classes.codebooks[0].point.period_s,
                        new_silicon=_on_new_silicon(model, workload, target, elements),
                        left_out=left_out,
                    )
                )
    return points


def _on_new_silicon(
    model: QuantizedModel, workload: Workload, target: Target, elements: Sequence[Element]
) -> NewSiliconCost | None:
    """Return the cost of a model, and of W4A8 where it fits, at equal area on the best elements.

    The result is None if no elements are known or the model fits none of them.
    """
    runs = best_runs(model, workload, target, elements, ON_NEW_SILICON) if elements else {}
    ours, rival = runs.get("HALO"), runs.get("W4A8")
    if ours is None:
        return None
    if rival is None:
        return NewSiliconCost(ours.element, ours.time_s, ours.energy_j)
    return NewSiliconCost(ours.element, ours.time_s, ours.energy_j, rival.element, rival.time_s, rival.energy_j)


def _goals(job: JobSteps) -> dict[str, MethodStep]:
    return {goal: halo_method(job, f"halo-{goal}", job.allocator.goal_maps(goal)) for goal in job.recipe.quantize.goals}


def mark_knees(points: Sequence[Point]) -> list[Point]:
    """Return the same points, with the knee of perplexity over time marked for each MAC, tile size, target and phase.

    Only points that no faster one of them beats in perplexity are on the curve. A curve of fewer than three points has
    no knee.
    """
    marked: list[Point] = list(points)
    for place in dict.fromkeys(_place(point) for point in points):
        there = sorted((p.time_s, p.perplexity, i) for i, p in enumerate(points) if _place(p) == place)
        curve = [each for n, each in enumerate(there) if n == 0 or each[1] < min(before[1] for before in there[:n])]
        if len(curve) < 3:
            continue
        time_s, perplexity = (np.array([each[axis] for each in curve]) for axis in (0, 1))
        at = curve[knee_of(time_s, perplexity)][2]
        marked[at] = msgspec.structs.replace(points[at], knee=True)
    return marked


def _place(point: Point) -> tuple[str, int, str, str]:
    return point.profile, point.tile, point.target, point.phase


def mark_best(points: Sequence[Point]) -> list[Point]:
    """Return the same points, with those on the Pareto front of their target and phase marked as best.

    A point is not on the front if another of the same target and phase is at least as good in perplexity, time and
    energy, and better in one of them.
    """

    def beaten(point: Point) -> bool:
        rivals = [_costs(other) for other in points if (other.target, other.phase) == (point.target, point.phase)]
        mine = _costs(point)
        return any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in rivals)

    return [msgspec.structs.replace(point, best=not beaten(point)) for point in points]


def _costs(point: Point) -> tuple[float, float, float]:
    return (point.perplexity, point.time_s, point.energy_j)
