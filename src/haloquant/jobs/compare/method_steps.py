"""Each method of a job as a step that this process or a worker can make: full precision, rivals, and HALO's goals.

The layers of a method are finished first, in one pass for all methods (`finish_layers`). The step of the method then
evaluates them, with one layer at a time in memory beside the model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from haloquant.jobs.compare.accuracy import Accuracy, measure_accuracy
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult, load_method, save_method
from haloquant.jobs.compare.rival_layers import RivalLayers
from haloquant.jobs.compare.rival_tasks import load_rival_layer, load_rival_weight
from haloquant.jobs.compare.rivals import REFERENCES
from haloquant.jobs.quantize.checkpoint_passes import Maps
from haloquant.jobs.quantize.task_runner import LayerStep
from haloquant.jobs.quantize.transform import NOTE
from haloquant.lm.checkpoint.reader import LinearLayer, read_weight
from haloquant.lm.swap_weights import LayerWeights
from haloquant.quant.float16 import has_small_scales, small_scales_note
from haloquant.quant.tile_histogram import layer_tiles
from haloquant.records import BitCount, LayerTiles
from haloquant.report.warnings import TOO_WIDE

SPARSE = (
    "in the perplexity with rounded activations every token leaves out inputs that hold {:.1%} of the "
    "multiply-accumulates; the model itself leaves them out of generated tokens only"
)

MIXED = (
    "in the perplexity with rounded activations {:.1%} of the tokens of a layer, as the mean over layers, have inputs "
    "of {} bits in place of {}, those with the lowest scores"
)


@dataclass(frozen=True)
class MethodStep:
    """The step of one method.

    `inputs` is everything that the result depends on; its hash is the step's key. `make` writes the step's files to a
    folder; it reads the layers that `finish_layers` made: those of the classes `maps`, those of the step `layers`, or
    all those of `rival`.
    """

    name: str
    inputs: object
    make: Callable[[Path], None]
    maps: Maps | None = None
    layers: LayerStep | None = None
    rival: RivalLayers | None = None


def finish_methods(job: JobSteps, steps: Mapping[str, MethodStep]) -> dict[str, MethodResult]:
    """Return the results of methods, by name. Steps that are not finished are made in this process."""
    results = evaluate_methods(job, steps)
    forget_rival_layers(job, steps.values())
    return results


def evaluate_methods(job: JobSteps, steps: Mapping[str, MethodStep]) -> dict[str, MethodResult]:
    """Return the results of methods, by name, and keep the layers of rivals for an evaluation on another text."""
    finish_layers(job, steps.values())
    return {name: load_method(job.step(step.name, step.inputs, step.make)) for name, step in steps.items()}


def finish_layers(job: JobSteps, steps: Iterable[MethodStep]) -> list[MethodStep]:
    """Quantize the layers of all methods whose step is not finished, in one pass. Return these methods."""
    missing = [step for step in steps if job.steps.find(step.name, step.inputs) is None]
    for step in missing:
        if step.rival is not None:
            step.rival.prepare()
    maps = [step.maps for step in missing if step.maps is not None]
    others = [step.layers for step in missing if step.layers is not None]
    if maps or others:
        job.passes.quantize(maps, others)
    return missing


def forget_rival_layers(job: JobSteps, steps: Iterable[MethodStep]) -> None:
    """Delete the layers of finished rivals: they are float32 weights, and nothing reads them again."""
    for step in steps:
        if step.rival is not None and job.steps.find(step.name, step.inputs) is not None:
            step.rival.forget()


def main_methods(job: JobSteps) -> dict[str, MethodStep]:
    """Return the steps of full precision, the references, the rivals and HALO's goals, by name."""
    steps = [full_precision(job)]
    steps += [rival_method(job, name, rival_name) for name, rival_name in REFERENCES.items()]
    for name in job.recipe.quantize.rivals:
        if name not in REFERENCES.values():
            steps.append(rival_method(job, name, name))
    for goal in job.recipe.quantize.goals:
        notes = (job.allocator.within.note,) if goal == "bal" and job.allocator.within is not None else ()
        steps.append(halo_method(job, f"halo-{goal}", job.allocator.goal_maps(goal), notes))
    return {step.name: step for step in steps}


def sweep_methods(job: JobSteps) -> dict[str, MethodStep]:
    """Return the steps of further points on HALO's path of allocations, for the Pareto front, by name."""
    last = len(job.allocator.path.cost) - 1
    within = job.allocator.within is not None  # then bal is no point of the path
    goals = {job.allocator.stop(goal) for goal in job.recipe.quantize.goals if not (within and goal == "bal")}
    stops = [round(last * share) for share in job.recipe.quantize.sweep]
    return {
        f"halo-{s}": halo_method(job, f"halo-{s}", job.allocator.maps(s))
        for s in dict.fromkeys(stops)
        if s not in goals
    }


def full_precision(job: JobSteps) -> MethodStep:
    """Return the step of full precision: 16 bits per weight, on a floating-point multiplier."""

    def make(folder: Path) -> None:
        accuracy = weights_accuracy(job, "fp16", {})
        count = sum(o * i for o, i in job.shapes.values())
        save_method(folder, MethodResult("fp16", accuracy, BitCount(weights=count, codes=16 * count), (), {}))

    return MethodStep("fp16", job.evaluation_key(), make)


def rival_method(job: JobSteps, name: str, rival_name: str) -> MethodStep:
    """Return the step of the rival `rival_name`, which is called `name` in the tables."""
    layers, source = job.inputs.checkpoint.layers, RivalLayers(job, rival_name)

    def make(folder: Path) -> None:
        folders = {layer.name: source.folder(layer) for layer in layers}
        found = [load_rival_layer(folders[layer.name], layer, job.recipe.hardware.tile) for layer in layers]
        tiles = {seen.layer: seen for _, seen in found if seen is not None}
        bits = sum((made.bits for made, _ in found), BitCount())
        notes = dict.fromkeys((*(note for made, _ in found for note in made.notes), *source.notes()))
        if any(made.too_wide for made, _ in found):  # a method runs on the array as a whole or not at all
            tiles, notes = {}, {**notes, TOO_WIDE: None}
        weights = _weights(layers, lambda layer: load_rival_weight(folders[layer.name]))
        accuracy = weights_accuracy(job, name, weights, source.scales())
        notes = {**notes, **dict.fromkeys(_mixed_notes(job, accuracy))}
        save_method(folder, MethodResult(name, accuracy, bits, tuple(notes), tiles))

    inputs = [source.inputs, job.evaluation_key()] if layers else []
    return MethodStep(name, inputs, make, layers=source.step, rival=source)


def halo_method(job: JobSteps, name: str, maps: Maps, said: tuple[str, ...] = ()) -> MethodStep:
    """Return the step of HALO with these classes of tiles; `said` are sentences on how they were chosen."""
    layers = job.inputs.checkpoint.layers

    def make(folder: Path) -> None:
        tiles: dict[str, LayerTiles] = {}
        small: list[str] = []
        for layer in layers:
            quantized = job.quantized(maps, layer)
            tiles[layer.name] = layer_tiles(quantized)
            if has_small_scales(job.passes.layer(maps, layer).tensors["weight_scale"]):
                small.append(layer.name)
        bits = sum((seen.bits for seen in tiles.values()), BitCount())
        scales, transform = job.passes.scales, job.recipe.quantize.transform
        notes = () if transform == "none" else (NOTE.format(transform, len(scales), len(layers)),)
        notes += (*small_scales_note(small), *said)
        weights = _weights(layers, lambda layer: job.restored(maps, layer))
        accuracy = weights_accuracy(job, name, weights, scales, sparse=True)
        notes += _mixed_notes(job, accuracy)
        if accuracy.input_density is not None:
            notes += (SPARSE.format(1 - accuracy.input_density),)
            kept = accuracy.layer_density
            tiles = {layer: replace(part, input_density=kept[layer]) for layer, part in tiles.items()}
        save_method(folder, MethodResult(name, accuracy, bits, notes, tiles))

    classes = [maps[layer].codebook.tolist() for layer in job.shapes]
    quantize = job.recipe.quantize
    inputs = [quantize.input_sparsity, quantize.input_allocation, job.calibration_key()]
    sparse = inputs if quantize.input_sparsity else []
    return MethodStep(name, [classes, said, job.evaluation_key(), job.key, *sparse], make, maps=maps)


def _mixed_notes(job: JobSteps, accuracy: Accuracy) -> tuple[str, ...]:
    """Return a sentence on the tokens in low bits, if activations are mixed."""
    shares, quantize = accuracy.low_shares, job.recipe.quantize
    if not shares:
        return ()
    return (MIXED.format(sum(shares.values()) / len(shares), quantize.low_bits, quantize.activation_bits),)


def _weights(layers: Sequence[LinearLayer], read: Callable[[LinearLayer], np.ndarray]) -> LayerWeights:
    """Return the weights of layers, each of which is read when it is asked for."""
    return LayerWeights({layer.name: partial(read, layer) for layer in layers})


def weights_accuracy(
    job: JobSteps,
    name: str,
    weights: Mapping[str, np.ndarray],
    input_scale: Mapping[str, np.ndarray] | None = None,
    sparse: bool = False,
) -> Accuracy:
    """Measure the accuracy of the job's model with these weights on the job's evaluation text.

    `sparse` says that inputs are left out, if the recipe asks for it.
    """
    tell = partial(job.progress, f"evaluate {name}")
    checkpoint, tensor = job.inputs.checkpoint, job.recipe.quantize.activations == "tensor"
    originals = _weights(checkpoint.layers, partial(read_weight, checkpoint))
    known = job.input_maxima if tensor and weights else None
    return measure_accuracy(
        job.model,
        weights,
        job.inputs.evaluation.tokens,
        job.recipe,
        tell,
        input_scale,
        known,
        originals,
        job.protocol,
        job.request.calibration if sparse or job.recipe.quantize.activations == "mixed" else None,
        job.predictions if job.protocol.divergence and weights else None,
    )
