"""Each method of a job as a step that this process or a worker can make: full precision, rivals, and HALO's goals."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from haloquant.jobs.compare.accuracy import Accuracy, measure_accuracy
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult, load_method, save_method
from haloquant.jobs.compare.rivals import REFERENCES, array_tiles, quantize_rival
from haloquant.jobs.engine.threads import one_thread
from haloquant.jobs.quantize.layer_rounding import round_layers
from haloquant.jobs.quantize.transform import NOTE
from haloquant.jobs.step_files import save_packed
from haloquant.quant.layer import dequantize
from haloquant.quant.rivals.registry import rival
from haloquant.quant.tile_histogram import layer_tiles
from haloquant.quant.tiles import make_grid
from haloquant.records import BitCount, LayerStatistics
from haloquant.report.warnings import TOO_WIDE


@dataclass(frozen=True)
class MethodStep:
    """The step of one method.

    `inputs` is everything that the result depends on; its hash is the step's key. `make` writes the step's files to a
    folder. `prepare` makes the steps that `make` reads.
    """

    name: str
    inputs: object
    make: Callable[[Path], None]
    prepare: Callable[[], object] = lambda: None


def finish_method(job: JobSteps, step: MethodStep) -> MethodResult:
    """Return the result of a method; its step is made now unless it is finished already."""
    return load_method(job.step(step.name, step.inputs, step.make))


def main_methods(job: JobSteps) -> dict[str, MethodStep]:
    """Return the steps of full precision, the references, the rivals and HALO's goals, by name."""
    steps = [full_precision(job)]
    steps += [rival_method(job, name, rival_name) for name, rival_name in REFERENCES.items()]
    for name in job.recipe.quantize.rivals:
        if name not in REFERENCES.values():
            steps.append(rival_method(job, name, name))
    for goal in job.recipe.quantize.goals:
        steps.append(halo_method(job, f"halo-{goal}", job.allocator.stop(goal)))
    return {step.name: step for step in steps}


def sweep_methods(job: JobSteps) -> dict[str, MethodStep]:
    """Return the steps of further points on HALO's path of allocations, for the Pareto front, by name."""
    last = len(job.allocator.path.cost) - 1
    goals = {job.allocator.stop(goal) for goal in job.recipe.quantize.goals}
    stops = [round(last * share) for share in job.recipe.quantize.sweep]
    return {f"halo-{s}": halo_method(job, f"halo-{s}", s) for s in dict.fromkeys(stops) if s not in goals}


def full_precision(job: JobSteps) -> MethodStep:
    """Return the step of full precision: 16 bits per weight, on a floating-point multiplier."""

    def make(folder: Path) -> None:
        accuracy = _accuracy(job, "fp16", {})
        count = sum(o * i for o, i in job.shapes.values())
        save_method(folder, MethodResult("fp16", accuracy, BitCount(weights=count, codes=16 * count), (), {}))

    return MethodStep("fp16", job.evaluation_key(), make)


def rival_method(job: JobSteps, name: str, rival_name: str) -> MethodStep:
    """Return the step of the rival `rival_name`, which is called `name` in the tables."""
    chosen = rival(rival_name)

    def read() -> tuple[Mapping[str, LayerStatistics], Mapping[str, np.ndarray] | None]:
        if job.recipe.quantize.activations == "tensor":
            _ = job.statistics  # their maxima scale the activations of every method
        known = job.token_statistics if chosen.by_token else job.statistics
        return known, job.row_hessians if chosen.by_head else None

    def make(folder: Path) -> None:
        known, rows = read()
        tell = partial(job.progress, f"quantize {name}")
        with one_thread():
            found = quantize_rival(rival_name, job.weights, known, tell, rows)
        tile = job.recipe.hardware.tile
        tiles = {
            layer: seen
            for layer, result in found.items()
            if (seen := array_tiles(result, make_grid(*job.shapes[layer], tile, tile), job.profile, job.corner))
            is not None
        }
        too_wide = [layer for layer, result in found.items() if result.mac_values is not None and layer not in tiles]
        bits = sum((result.bits for result in found.values()), BitCount())
        notes = dict.fromkeys(note for result in found.values() for note in result.notes)
        if too_wide:  # a method runs on the array as a whole or not at all
            tiles, notes = {}, {**notes, TOO_WIDE: None}
        accuracy = _accuracy(job, name, {layer: result.weight for layer, result in found.items()})
        save_method(folder, MethodResult(name, accuracy, bits, tuple(notes), tiles))

    key = [rival_name, chosen.by_head, chosen.by_token, job.evaluation_key(), job.profile_key()]
    return MethodStep(name, key, make, read)


def halo_method(job: JobSteps, name: str, stop: int) -> MethodStep:
    """Return the step of HALO with the classes at a position of the path of allocations; packed layers are kept."""
    maps = job.allocator.maps(stop)

    def make(folder: Path) -> None:
        seen = job.transformed
        tell = partial(job.progress, f"quantize {name}")
        with one_thread():
            found = round_layers(seen.weights, seen.statistics, maps, job.classes, job.recipe, tell)
        save_packed(folder, found)
        tiles = {layer: layer_tiles(q) for layer, q in found.items()}
        bits = sum((seen.bits for seen in tiles.values()), BitCount())
        rounded = {layer: seen.undo(layer, dequantize(q)) for layer, q in found.items()}
        transform = job.recipe.quantize.transform
        notes = () if transform == "none" else (NOTE.format(transform, len(seen.scales), len(found)),)
        accuracy = _accuracy(job, name, rounded, seen.scales)
        save_method(folder, MethodResult(name, accuracy, bits, notes, tiles))

    classes = [maps[layer].codebook.tolist() for layer in job.shapes]
    return MethodStep(name, [classes, job.evaluation_key(), job.halo_key()], make)


def _accuracy(
    job: JobSteps,
    name: str,
    weights: dict[str, np.ndarray],
    input_scale: Mapping[str, np.ndarray] | None = None,
) -> Accuracy:
    """Measure the accuracy of the job's model with these weights on the job's evaluation text."""
    tell = partial(job.progress, f"evaluate {name}")
    known = job.statistics if job.recipe.quantize.activations == "tensor" and weights else None
    return measure_accuracy(job.model, weights, job.inputs.evaluation.tokens, job.recipe, tell, input_scale, known)
