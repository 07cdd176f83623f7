"""The methods of table 2 on a model with weights: perplexity, stored bits, and bits as the paper counts them.

The MAC and the clocks are the paper's. HALO is there twice on the same words: rounded as the paper describes (`halo`),
and as this package rounds (`ours`). Weights of rivals have one scale per channel where the paper says so; activations
are in 8 bits, one scale for each token.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from haloquant.jobs.compare.accuracy import Accuracy, rise_error
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult, load_method, save_method
from haloquant.jobs.compare.method_steps import (
    MethodStep,
    finish_methods,
    full_precision,
    halo_method,
    rival_method,
    weights_accuracy,
)
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.inputs import Progress, read_inputs
from haloquant.jobs.paper.energy_claims import PAPER_MAC
from haloquant.jobs.paper.fair_machines import CLOCKS_HZ
from haloquant.lm.calibration.paired_inputs import round_against_full_precision
from haloquant.lm.checkpoint.reader import LinearLayer, read_weight
from haloquant.quant.rivals.registry import rival
from haloquant.quant.rivals.rtn import RtnConfig
from haloquant.quant.rivals.rtn import quantize as round_to_nearest
from haloquant.quant.rivals.zeroquant import ZeroQuantConfig, quantize_to_outputs
from haloquant.quant.transforms.error_propagation import DAMPINGS, PairedInputs
from haloquant.recipe import Goal, Hardware, Method, Model, Quantize, Recipe, Text
from haloquant.records import BitCount, LayerResult, LayerStatistics
from haloquant.store.profiles import find_profile

# Rows of the table, and the presets that make them.
RIVALS = {
    "rtn-w8a8": "rtn-w8",
    "rtn-w4a8": "rtn-w4",
    "rtn-w3a8": "rtn-w3",
    "gptq-w4a8": "gptq-w4",
    "zeroquant-local-w4a8": "zeroquant-local-w4-g128",
}
GLOBAL, GLOBAL_PRESET = "zeroquant-global-w4a8", "zeroquant-local-w4-g128"  # the same settings, another target
SMOOTHED = {"smoothquant-w8a8": 8, "smoothquant-w4a8": 4, "smoothquant-w3a8": 3}
# Bits of a weight in rows without tiles.
BITS = {name: int(name[name.rindex("w") + 1 : name.rindex("a")]) for name in (*RIVALS, GLOBAL, *SMOOTHED)}
VARIANTS: tuple[tuple[Goal, int], ...] = (
    ("perf-opt", 128),
    ("acc-opt", 128),
    ("bal", 128),
    ("bal", 64),
    ("bal", 32),
    ("perf-opt", 32),  # not in the paper: all tiles are fast at either size, so only the scales differ from tile 128
)
METHODS: dict[str, Method] = {"halo": "paper", "ours": "haloquant"}


@dataclass(frozen=True)
class ModelRow:
    """One row of the table on our model.

    `paper_bits` counts 3 and 4 bits a class, as the paper does. `error` is the standard error of the rise of perplexity
    over full precision with rounded weights alone; None where it is not known.
    """

    method: str
    tile: int
    perplexity: float
    stored_bits: float
    paper_bits: float
    error: float | None = None


def model_table(model: str, text: str, folder: Path, progress: Progress) -> list[ModelRow]:
    """Return every row on a model; full precision comes first.

    Args:
        model: A model folder, or `demo`.
        text: An evaluation text, or `demo`.
        folder: Folder for finished steps; a rerun finds them there.
        progress: Called with the name of a task, its parts done and its parts in all.

    Raises:
        HaloquantError: The model or the text is missing or malformed, or the model has experts.
    """
    job = _job(_recipe(model, text, 128, ("bal",), "paper"), folder, progress)
    steps = {"fp16": full_precision(job)} | {name: rival_method(job, preset, preset) for name, preset in RIVALS.items()}
    found = finish_methods(job, steps)
    found |= {GLOBAL: _global(job)} | _smoothed(job.recipe, folder, progress)
    full = found.pop("fp16").accuracy
    rows = [ModelRow("fp16", 0, full.final_perplexity, 16.0, 16.0)]
    rows += [_row(name, 0, made, full, float(BITS[name])) for name, made in found.items()]
    for prefix, method in METHODS.items():
        for tile in dict.fromkeys(tile for _, tile in VARIANTS):
            goals: tuple[Goal, ...] = tuple(goal for goal, at in VARIANTS if at == tile)
            job = _job(_recipe(model, text, tile, goals, method), folder, progress)
            made = finish_methods(job, {goal: _variant(job, goal, method) for goal in goals})
            for goal in goals:
                bits = 4.0 - fast_fraction(made[goal].tiles)
                rows.append(_row(f"{prefix} {goal}", tile, made[goal], full, bits))
    return rows


def _variant(job: JobSteps, goal: Goal, method: Method) -> MethodStep:
    return halo_method(job, f"{method}-{goal}", job.allocator.goal_maps(goal))


def _row(name: str, tile: int, made: MethodResult, full: Accuracy, paper_bits: float) -> ModelRow:
    accuracy = made.accuracy
    error = rise_error(accuracy, full)
    return ModelRow(name, tile, accuracy.final_perplexity, made.bits.per_weight, paper_bits, error)


def _global(job: JobSteps) -> MethodResult:
    """Return ZeroQuant-Global, whose layers are rounded one after the other on paired inputs."""
    config = rival(GLOBAL_PRESET).config
    windows = job.request.calibration
    if not isinstance(config, ZeroQuantConfig) or windows is None:
        raise TypeError(f"{GLOBAL_PRESET} must be a preset of ZeroQuant, and the job must have calibration windows")

    def make(folder: Path) -> None:
        found: list[LayerResult] = []

        def rounder(layer: LinearLayer, weight: np.ndarray, inputs: PairedInputs) -> np.ndarray:
            found.append(quantize_to_outputs(weight, inputs, config, layer=layer.name))
            return found[-1].weight

        tell = partial(job.progress, f"quantize {GLOBAL}")
        rounded = round_against_full_precision(job.inputs.checkpoint, windows, rounder, progress=tell)
        weights = {layer.name: weight for layer, weight in rounded}
        bits = sum((made.bits for made in found), BitCount())
        save_method(folder, MethodResult(GLOBAL, weights_accuracy(job, GLOBAL, weights), bits, (), {}))

    inputs = [job.calibration_key(), job.evaluation_key(), repr(config), repr(DAMPINGS)]
    return load_method(job.step(GLOBAL, inputs, make))


def _recipe(model: str, text: str, tile: int, goals: tuple[Goal, ...], method: Method) -> Recipe:
    fast_hz, slow_hz = CLOCKS_HZ
    return Recipe(
        model=Model(path=model),
        text=Text(evaluation=text),
        hardware=Hardware(
            profile=PAPER_MAC,
            targets=("paper_tpu",),
            gpus=(),
            tile=tile,
            clocks_ghz=(fast_hz / 1e9, slow_hz / 1e9),
        ),
        quantize=Quantize(goals=goals, rivals=(), method=method, sweep=()),
    )


def _job(recipe: Recipe, folder: Path, progress: Progress) -> JobSteps:
    return JobSteps(recipe, read_inputs(recipe), find_profile(recipe.hardware.profile), folder, progress)


def _smoothed(recipe: Recipe, folder: Path, progress: Progress) -> dict[str, MethodResult]:
    """Return SmoothQuant with rounding to nearest per channel. Inputs that nothing before can scale are left."""
    replaced = msgspec.structs.replace(recipe.quantize, transform="smoothquant")
    job = _job(msgspec.structs.replace(recipe, quantize=replaced), folder, progress)
    layers, found = job.inputs.checkpoint.layers, dict[str, MethodResult]()
    for name, bits in SMOOTHED.items():

        def make(folder: Path, name: str = name, bits: int = bits) -> None:
            scales = job.passes.scales
            weights = {
                layer.name: round_scaled(
                    layer.name, read_weight(job.inputs.checkpoint, layer), scales.get(layer.name), bits
                )
                for layer in layers
            }
            count = sum(layer.out_features * layer.in_features for layer in layers)
            stored = BitCount(weights=count, codes=bits * count, scales=16 * sum(x.out_features for x in layers))
            save_method(folder, MethodResult(name, weights_accuracy(job, name, weights, scales), stored, (), {}))

        inputs = [job.calibration_key(), job.evaluation_key(), bits]
        found[name] = load_method(job.step(name, inputs, make))
    return found


def round_scaled(layer: str, weight: np.ndarray, scale: np.ndarray | None, bits: int) -> np.ndarray:
    """Return the weight for the unscaled input, rounded per output channel at the scaled input."""
    factor = np.ones(weight.shape[1], np.float32) if scale is None else scale.astype(np.float32)
    config = RtnConfig(bits=bits, group=None, scheme="symmetric")
    made = round_to_nearest(weight * factor, LayerStatistics(layer, 0), config, layer=layer)
    return made.weight / factor
