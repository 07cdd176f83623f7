"""The methods of table 2 on a model with weights: perplexity, stored bits, and bits as the paper counts them.

The MAC and the clocks are the paper's. HALO is there twice on the same words: rounded as the paper describes (`halo`),
and as this package rounds (`ours`). Weights of rivals have one scale per channel where the paper says so; activations
are in 8 bits, one scale for each token.
"""

from dataclasses import dataclass
from pathlib import Path

from haloquant.jobs.compare.accuracy import Accuracy, rise_error
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.compare.method_steps import (
    MethodStep,
    finish_methods,
    full_precision,
    halo_method,
    rival_method,
)
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.inputs import Progress, read_inputs
from haloquant.jobs.paper.energy_claims import PAPER_MAC
from haloquant.jobs.paper.fair_machines import CLOCKS_HZ
from haloquant.recipe import Goal, Hardware, Method, Model, Quantize, Recipe, Text
from haloquant.store.profiles import find_profile

GLOBAL = "zeroquant-global-w4a8"
# Rows of the table without tiles, and the rivals that make them.
RIVALS = {
    "rtn-w8a8": "rtn-w8",
    "rtn-w4a8": "rtn-w4",
    "rtn-w3a8": "rtn-w3",
    "gptq-w4a8": "gptq-w4",
    "zeroquant-local-w4a8": "zeroquant-local-w4-g128",
    GLOBAL: "zeroquant-global-w4-g128",
    "smoothquant-w8a8": "smoothquant-w8",
    "smoothquant-w4a8": "smoothquant-w4",
    "smoothquant-w3a8": "smoothquant-w3",
}
BITS = {name: int(name[name.rindex("w") + 1 : name.rindex("a")]) for name in RIVALS}  # of a weight
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
