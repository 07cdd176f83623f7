"""The methods of table 2 on a model with weights: perplexity, stored bits, and bits as the paper counts them.

The MAC and the clocks are the paper's. HALO is there twice on the same words: rounded as the paper describes (`halo`),
and as this package rounds (`ours`). Weights of rivals have one scale per channel where the paper says so; activations
are in 8 bits, one scale for each token.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from haloquant.errors import InputError
from haloquant.jobs.compare.accuracy import Accuracy, Protocol, rise_error
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.compare.method_steps import (
    MethodStep,
    evaluate_methods,
    forget_rival_layers,
    full_precision,
    halo_method,
    rival_method,
)
from haloquant.jobs.compare.result_rows import fast_fraction
from haloquant.jobs.inputs import Inputs, Progress, read_inputs
from haloquant.jobs.paper.fair_machines import CLOCKS_HZ
from haloquant.jobs.paper.judged_model import JudgedModel
from haloquant.jobs.provenance import step_versions
from haloquant.jobs.quantize.stored_calibration import remove_calibrations
from haloquant.jobs.recipe_checks import rivals_obstacle
from haloquant.lm.checkpoint.model_config import read_config, window_tokens
from haloquant.recipe import Goal, Hardware, Method, Model, Quantize, Recipe, Text
from haloquant.store.atomic_files import claim_output, sole_user
from haloquant.store.finished_steps import Steps
from haloquant.store.profiles import PAPER_MAC, find_profile

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
    over full precision; None where it is not known. `text` is the evaluation text, and `tokens` its predicted tokens.
    `sparse` holds the share of sparse weights of each layer, and `sparse_share` of all layers, where a method has them.
    """

    method: str
    tile: int
    perplexity: float
    stored_bits: float
    paper_bits: float
    error: float | None = None
    text: str = ""
    tokens: int = 0
    sparse: tuple[float, ...] = ()
    sparse_share: float = 0.0


def model_table(judged: JudgedModel, progress: Progress) -> list[ModelRow]:
    """Return every row on a model, text after text; full precision comes first on each text.

    Layers are rounded once for all texts.

    Args:
        judged: The model, the texts and the samples.
        progress: Called with the name of a task, its parts done and its parts in all.

    Raises:
        HaloquantError: The model or a text is missing or malformed, or the model has experts; or another run uses the
            folder.
    """
    claim_output(judged.folder)
    with sole_user(judged.folder):
        rows = _rows(judged, progress)
        remove_calibrations(Steps(judged.folder / "steps", step_versions()))
    return rows


def _rows(judged: JudgedModel, progress: Progress) -> list[ModelRow]:
    full: dict[str, Accuracy] = {}
    first, others, variants = (dict[str, list[ModelRow]]((text, []) for text in judged.texts) for _ in range(3))
    jobs = _jobs(judged, 128, ("bal",), "paper", progress)
    for text, job, found in _finished(jobs, lambda job: {"fp16": full_precision(job)}):
        full[text] = found["fp16"].accuracy
        first[text].append(_row("fp16", 0, job, full[text], full[text], 16.0, 16.0))
    for prefix, method in METHODS.items():  # before the rivals: the slowest of them takes as long as all variants
        if method not in judged.methods:
            continue
        for tile in dict.fromkeys(tile for _, tile in VARIANTS):
            goals: tuple[Goal, ...] = tuple(goal for goal, at in VARIANTS if at == tile)
            own = _jobs(judged, tile, goals, method, progress)
            for text, job, found in _finished(own, partial(_variants, goals=goals, method=method)):
                for goal, made in found.items():
                    bits = made.bits.per_weight, 4.0 - fast_fraction(made.tiles)
                    row = _row(f"{prefix} {goal}", tile, job, made.accuracy, full[text], *bits)
                    variants[text].append(_with_sparse(row, made))
    for text, job, found in _finished(jobs, _rivals):
        for name, made in found.items():
            bits = made.bits.per_weight, float(BITS[name])
            others[text].append(_row(name, 0, job, made.accuracy, full[text], *bits))
    return [row for text in judged.texts for part in (first, others, variants) for row in part[text]]


def _finished(
    jobs: Mapping[str, JobSteps], steps_of: Callable[[JobSteps], Mapping[str, MethodStep]]
) -> list[tuple[str, JobSteps, dict[str, MethodResult]]]:
    """Return the results on every text. The layers of rivals are deleted when all texts are done."""
    steps = {text: steps_of(job) for text, job in jobs.items()}
    found = [(text, job, evaluate_methods(job, steps[text])) for text, job in jobs.items()]
    for text, job in jobs.items():
        forget_rival_layers(job, steps[text].values())
    return found


def _rivals(job: JobSteps) -> dict[str, MethodStep]:
    return {name: rival_method(job, preset, preset) for name, preset in RIVALS.items()}


def _variants(job: JobSteps, goals: tuple[Goal, ...], method: Method) -> dict[str, MethodStep]:
    return {goal: halo_method(job, f"{method}-{goal}", job.allocator.goal_maps(goal)) for goal in goals}


def _row(
    name: str, tile: int, job: JobSteps, made: Accuracy, full: Accuracy, stored_bits: float, paper_bits: float
) -> ModelRow:
    error = None if made is full else rise_error(made, full)
    text = job.inputs.evaluation.name
    return ModelRow(name, tile, made.final_perplexity, stored_bits, paper_bits, error, text, made.tokens)


def _with_sparse(row: ModelRow, made: MethodResult) -> ModelRow:
    layers = made.tiles.values()
    nonzero, weights = [tiles.sparse_nnz for tiles in layers], [tiles.bits.weights for tiles in layers]
    shares = tuple(kept / count for kept, count in zip(nonzero, weights, strict=True))
    return dataclasses.replace(row, sparse=shares, sparse_share=sum(nonzero) / sum(weights))


def _jobs(
    judged: JudgedModel, tile: int, goals: tuple[Goal, ...], method: Method, progress: Progress
) -> dict[str, JobSteps]:
    """Return a job for each text. Their steps stand in one folder, and differ in the evaluation alone."""
    fast_hz, slow_hz = CLOCKS_HZ
    jobs: dict[str, JobSteps] = {}
    for text in judged.texts:
        recipe = Recipe(
            model=Model(path=judged.model),
            text=Text(evaluation=text, evaluation_tokens=judged.tokens, calibration_tokens=judged.calibration_tokens),
            hardware=Hardware(
                profile=PAPER_MAC,
                targets=("paper_tpu",),
                gpus=(),
                tile=tile,
                clocks_ghz=(fast_hz / 1e9, slow_hz / 1e9),
            ),
            quantize=Quantize(goals=goals, rivals=(), method=method, sweep=()),
        )
        inputs, profile = read_inputs(recipe), find_profile(recipe.hardware.profile)
        _check_window(judged.window, inputs)
        _check_rivals(recipe, inputs)
        protocol = Protocol(weights_alone=False, window=judged.window)
        jobs[text] = JobSteps(recipe, inputs, profile, judged.folder, progress, protocol=protocol)
    return jobs


def _check_window(window: int | None, inputs: Inputs) -> None:
    """Check, before any work, that the model has as many positions as a window has tokens, and the text as many tokens.

    Raises:
        InputError: One of them has fewer.
    """
    if window is None:
        return
    most, text = window_tokens(read_config(inputs.checkpoint.folder), window), inputs.evaluation
    if window > most:
        raise InputError(f"window must be at most {most}, the positions of the model, not {window}")
    if window > len(text.tokens):
        raise InputError(f"window must be at most {len(text.tokens)}, the tokens of {text.name}, not {window}")


def _check_rivals(recipe: Recipe, inputs: Inputs) -> None:
    """Check, before any work, that the rivals of the table can quantize the model.

    Raises:
        InputError: One of them cannot.
    """
    asked = replace(recipe, quantize=replace(recipe.quantize, rivals=tuple(RIVALS.values())))
    if said := rivals_obstacle(asked, inputs):
        raise InputError(f"table 2 on a model needs all its rivals, and {said}")
