"""Quantize a model folder, or predict the time, memory and disk space that this needs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from haloquant.api.arguments import check_choice, check_count, check_range, path_text, texts
from haloquant.api.progress import Progress, reporting
from haloquant.errors import MALFORMED, InputError
from haloquant.jobs.devices import quantization_devices, with_devices
from haloquant.jobs.engine.metering import StageUsage, usage_table
from haloquant.jobs.engine.tasks import parse_engine
from haloquant.jobs.inputs import (
    calibration_windows,
    has_tensors,
    missing_windows,
    model_folder,
    model_window,
    read_model_sizes,
    read_text,
)
from haloquant.jobs.quantize.forecast import machine_rates
from haloquant.jobs.quantize.forecast.device_plan import DevicePlan, predict_on_device
from haloquant.jobs.quantize.forecast.device_rates import H100, DeviceRates
from haloquant.jobs.quantize.forecast.model_sizes import sizes_of_checkpoint
from haloquant.jobs.quantize.forecast.plan import Plan, Stage, predict, sparse_inputs_stage
from haloquant.jobs.quantize.job import quantize_checkpoint
from haloquant.jobs.quantize.layer_costs import check_layer_costs
from haloquant.jobs.quantize.layer_rounding import RoundingPlace
from haloquant.jobs.quantize.model_check import check_in_transformers, has_transformers
from haloquant.jobs.quantize.model_key import model_key
from haloquant.jobs.quantize.request import Request
from haloquant.jobs.quantize.shared_storage import upload_model, work_folder
from haloquant.jobs.quantize.transform import require_calibration
from haloquant.jobs.recipe_checks import check_used
from haloquant.lm.checkpoint.completeness import check_names
from haloquant.lm.checkpoint.full_precision_layers import LeftLayer
from haloquant.lm.checkpoint.reader import Checkpoint, content_hash, open_checkpoint
from haloquant.lm.checkpoint.remote import is_url, local_path
from haloquant.lm.devices import check_device_name, describe_device, device_memory_b, find_device
from haloquant.quant.input_sparsity.levels import InputAllocation, levels_around
from haloquant.quant.input_sparsity.scores import MOST_SPARSITY
from haloquant.recipe import (
    COST_WORDS,
    MOST_TILE,
    Basis,
    Budget,
    CostOf,
    Goal,
    Hardware,
    Method,
    Quantize,
    Recipe,
    Transform,
)
from haloquant.records import ValueHessian
from haloquant.store.profiles import find_profile

if TYPE_CHECKING:
    import numpy as np

DATA_FREE = "nothing: data-free, every weight of a layer counts alike"


@dataclass(frozen=True)
class Quantized:
    """The result of `quantize`: the packed model, and the time and memory that were used."""

    folder: Path | str
    """The packed model's folder, or its URL on shared storage."""
    bits_per_weight: float
    """Stored bits per quantized weight: codes, scales, sparse part and tile classes."""
    weights: int
    """Number of quantized weights."""
    layers: int
    """Number of quantized linear layers."""
    reused: int
    """Number of layers that an earlier, stopped call had finished."""
    source: str
    """Where the weights' sensitivity came from, such as "32 windows of text.txt"."""
    seconds: float
    """Time of the whole call in seconds."""
    peak_bytes: float
    """Most memory of this process, in bytes."""
    notes: tuple[str, ...]
    """Notes for the user, such as layers that stay in full precision."""
    stages: tuple[StageUsage, ...]
    """Time in seconds and memory in bytes of each stage."""
    left: tuple[LeftLayer, ...]
    """Matrices that stay in full precision, embeddings left out, each with the reason."""
    few_tokens: Mapping[str, int]
    """Calibration tokens of each expert's layer that was rounded with the mean of its layer's experts."""

    def to_dict(self) -> dict[str, object]:
        """Return the record as plain values, as `haloquant quantize --json` prints it."""
        return {
            "folder": str(self.folder),
            "layers": self.layers,
            "reused": self.reused,
            "bits_per_weight": self.bits_per_weight,
            "weights": self.weights,
            "source": self.source,
            "notes": list(self.notes),
            "left_in_full_precision": [{"name": x.name, "reason": x.reason} for x in self.left],
            "experts_with_few_tokens": dict(self.few_tokens),
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "stages": usage_table(self.stages),
        }


@dataclass(frozen=True)
class Forecast:
    """Time, memory and disk space of a quantization on this machine, predicted from the model's shapes."""

    plan: Plan
    """Bytes to read and to write, and the stages without and with calibration."""
    layers: int
    """Number of linear layers."""
    windows: int
    """Number of calibration windows."""
    window_tokens: int
    """Tokens of one calibration window."""
    calibrated: bool
    """Whether a calibration text was assumed."""
    gpu: DevicePlan | None = None
    """The same on one GPU: the time of each stage and the peak of device memory. None for the device "cpu"."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages with or without calibration, as `calibrated` says: seconds with one worker, and memory in bytes."""
        return self.plan.calibrated if self.calibrated else self.plan.free


def quantize(
    model: str | Path,
    out: str | Path,
    *,
    goal: Goal = "bal",
    profile: str | Path = "default",
    calibration: str | Path = "demo",
    samples: int = 32,
    tile: int = 128,
    sparse_budget: float = 0.005,
    prune_to_zero: float = 0.0,
    compensate: bool = True,
    value_hessian: ValueHessian = "attention",
    transform: Transform = "none",
    method: Method = "haloquant",
    clocks_ghz: Sequence[float] = (),
    delay_basis: Basis = "static",
    energy_weight: float = 0.0,
    cost: str = "time",
    budget: Mapping[str, float | str] | None = None,
    input_sparsity: float = 0.0,
    input_allocation: InputAllocation = "uniform",
    exclude: str | Sequence[str] | None = None,
    engine: str = "local",
    workers: int = 1,
    work: str | Path | None = None,
    device: str = "auto",
    progress: Progress = True,
) -> Quantized:
    """Quantize every linear layer of a model to HALO's packed form, one layer at a time.

    If a call was stopped, the same call continues after the layers that were finished. The bytes written depend neither
    on `engine` nor on `workers`.

    Args:
        model: Folder in Hugging Face format, a URL of one, or "demo" for the shipped model.
        out: Folder or URL (s3://...) of the packed model. It must be empty or not exist yet.
        goal: "perf-opt" (every tile in the fast class), "acc-opt" (every tile in the slow class) or "bal"
            (the knee between them).
        profile: MAC that multiplies the weights: the name of a shipped profile, or a file that `characterize` wrote.
        calibration: Text (.txt, .xz) that shows which weights matter, "demo" for the shipped one, or "none".
        samples: Number of calibration windows. A window is as long as the model's context, at most 2048 tokens.
        tile: Rows and columns of a tile; the size of the systolic array.
        sparse_budget: Largest share of weights that are kept in 8 bits outside the tiles, 0 to 0.5. Only outliers (more
            than three standard deviations from the layer's mean) and salient weights are kept.
        prune_to_zero: Share of each output's weights, those that matter least, that get the word 0; below 1. Their MACs
            toggle less, and the others make good the error. The packed model stores them like others.
        compensate: Compensate each rounding error in the weights that are not rounded yet (as GPTQ does). False rounds
            each weight to the nearest word.
        value_hessian: What compensation in value projections protects. "attention": the outputs of the heads, so that
            a token counts as often as others read it. "inputs": the values themselves, every token once.
        transform: Scaling of the layers' inputs before rounding: "none", "smoothquant" or "awq". Needs a calibration.
        method: "haloquant", or "paper": the HALO paper's algorithm as it is described. Needs a calibration.
        clocks_ghz: Clock of the fast and of the slow class in GHz: the classes take the words that meet them. Empty
            gives each class the clock of its loss.
        delay_basis: "static" (the longest path with the weight as a constant) or "sensitised" (the longest that a
            simulated activation transition toggled; other transitions may be slower).
        energy_weight: Weight of switching energy beside the error when words are chosen, 0 to 100.
        cost: What "bal" trades against the loss: "time", "energy", or "edp", their product, of the MAC; or the time of
            a decode step on a machine: "simulated:TARGET", or "measured:FILE" with a table of `measure_ops`.
        budget: What "bal" may use, in place of the knee: any of "bits_per_weight", "time_s" and "energy_j" (of all
            quantized layers in a decode step, with a simulated or measured cost), and "level" ("tile", or "layer" for
            one class per layer).
        input_sparsity: Share of the multiply-accumulates that a generated token does without, 0 to 0.95: those of the
            inputs with the lowest scores |x| * (norm of the weight's column), by thresholds from 512 tokens of the
            calibration (R-Sparse, arXiv 2504.19449). A prompt stays dense. The packed model must fit in memory.
        input_allocation: "uniform" leaves out the same share in each layer; "divergence" divides it so that the
            predictions change least, which takes seven or eight passes over the 512 tokens for each layer.
        exclude: Regular expressions. A layer whose name one of them matches stays in full precision.
        engine: "local", "ray", or "ray=ADDRESS" of a cluster.
        workers: Number of processes (local) or CPUs (ray).
        work: Folder of this machine for finished layers when `out` is a URL; a cache folder if None.
        device: Where calibration and rounding compute: "cpu", "cuda" or "cuda:NUMBER"; "auto" takes a GPU of this
            machine where there is one; "cuda:all" or "cuda:0,cuda:1" rounds on several, with a process for each. With
            Ray, "cuda" rounds on the cluster's GPUs. The method "paper" rounds on the CPU. The sums of two devices
            differ in their last digits, and so may a few codes.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        Where the packed model is, its bits per weight, and the time and memory it took.

    Raises:
        InputError: An argument is not allowed, `out` holds other files, or a file does not exist.
        InfeasibleError: The budgets cannot be met; the sentence says the least that would do.
        CheckpointError: The model folder is absent, incomplete or damaged. (An InputError.)
        BusyError: Another run works on the same output.
        MissingExtraError: Calibration needs torch, and torch is not installed.

    Example:
        ```python
        import haloquant

        made = haloquant.quantize("path/to/model", "model-halo", goal="bal", calibration="my-text.txt")
        print(f"{made.bits_per_weight:.2f} bits per weight in {made.folder}")
        ```
    """
    shown = reporting(progress)
    model, out, text = path_text("model", model), path_text("out", out), path_text("calibration", calibration)
    _check(goal, transform, text, samples)
    check_choice("value_hessian", value_hessian, get_args(ValueHessian))
    check_choice("method", method, get_args(Method))
    if method == "paper" and text == "none":
        raise InputError("the method paper must have a calibration text, as it ranks tiles by gradients; name one")
    check_choice("delay_basis", delay_basis, get_args(Basis))
    limits = _budget(cost, budget)
    check_range("energy_weight", energy_weight, 0.0, 100.0)
    check_count("tile", tile, 8, MOST_TILE)
    check_range("sparse_budget", sparse_budget, 0.0, 0.5)
    check_range("prune_to_zero", prune_to_zero, 0.0, 0.99)
    _check_sparsity(input_sparsity, input_allocation, text)
    where, mac = parse_engine(path_text("engine", engine), workers), path_text("profile", profile)
    devices, calibrating = quantization_devices(device, where, text)
    devices = ("cpu",) if method == "paper" else devices
    where = with_devices(where, devices)
    checkpoint = _open(model, exclude)
    windows, source, short = _windows(checkpoint.folder, text, samples)
    recipe = Recipe(
        hardware=Hardware(profile=mac, tile=tile, delay_basis=delay_basis, clocks_ghz=_clocks(clocks_ghz)),
        quantize=Quantize(
            sparse_budget=sparse_budget,
            prune_to_zero=prune_to_zero,
            compensate=compensate,
            value_hessian=value_hessian,
            transform=transform,
            method=method,
            energy_weight=energy_weight,
            cost=cost,
            budget=limits,
            input_sparsity=input_sparsity,
            input_allocation=input_allocation,
        ),
    )
    if limits.limited:  # the goal is not a part of the recipe here
        recipe = msgspec.structs.replace(recipe, quantize=msgspec.structs.replace(recipe.quantize, goals=(goal,)))
    check_used(recipe)
    check_layer_costs(recipe, checkpoint)
    mac_profile = find_profile(mac, delay_basis)
    asked = Request(mac_profile, goal, recipe, windows, source, calibrating, RoundingPlace(devices[0]))
    with shown as report:
        make = partial(quantize_checkpoint, checkpoint, asked, progress=report, engine=where)
        folder: Path | str
        if is_url(out) and local_path(out) is None:
            place = Path(path_text("work", work)) if work else work_folder(out)
            key = lambda: model_key(content_hash(checkpoint), checkpoint, asked)  # noqa: E731 - it reads all weights
            done = upload_model(out, place, make, key, report)
            folder = out
        else:
            done = make(_folder(out))
            folder = done.folder
    placed = _places_note(devices, "cpu" if windows is None else calibrating)
    bits, notes, stages = done.bits, (*short, *placed, *done.notes), tuple(done.stages)
    return Quantized(
        folder, bits.per_weight, bits.weights, done.layers, done.reused, done.source, done.seconds, done.peak_b, notes,
        stages, done.left, done.few_tokens,
    )  # fmt: skip


def forecast(
    model: str | Path,
    *,
    goal: Goal = "bal",
    calibration: str | Path = "demo",
    samples: int = 32,
    transform: Transform = "none",
    exclude: str | Sequence[str] | None = None,
    device: str = "auto",
    input_sparsity: float = 0.0,
    input_allocation: InputAllocation = "uniform",
) -> Forecast:
    """Predict memory, disk and time of `quantize` on this machine and on a GPU, from the model's shapes alone.

    A probe of about a second measures the speed of this machine. No weight is read.

    Args:
        model: As in `quantize`; or a bare `config.json`, or a named shape such as "llama2-70b".
        goal: As in `quantize`; "bal" measures every tile first and so takes longer.
        calibration: As in `quantize`; only whether it is "none" matters.
        samples: Number of calibration windows.
        transform: As in `quantize`.
        exclude: As in `quantize`; not for a bare `config.json` or a named shape.
        device: "auto" predicts for an H100 too, whether there is one or not; "cpu" does not. "cuda" or "cuda:NUMBER"
            takes the memory of that GPU of this machine, and the rates of an H100.
        input_sparsity: As in `quantize`.
        input_allocation: As in `quantize`.

    Returns:
        Every stage with its time in seconds (one worker) and memory in bytes.

    Raises:
        InputError: An argument is not allowed, `exclude` is given for a shape, or there is no such model; or it is one
            that `quantize` refuses by its configuration and the names, types and shapes of its tensors.

    Example:
        ```python
        import haloquant

        for stage in haloquant.forecast("llama2-70b").stages:
            print(f"{stage.name}: {stage.seconds / 3600:.1f} h, {stage.driver_b / 1e9:.1f} GB")
        ```
    """
    model, text = path_text("model", model), path_text("calibration", calibration)
    _check(goal, transform, text, samples)
    _check_sparsity(input_sparsity, input_allocation, text)
    tensors = is_url(model) or has_tensors(model)
    if exclude and not tensors:
        raise InputError(
            "exclude needs the names of layers: the model must be a folder, a GGUF file, a name in the hub's cache or "
            f"a URL, not {model!r:.80}"
        )
    if tensors:
        checkpoint = _open(model, exclude)
        check_names(checkpoint)
        check_in_transformers(checkpoint, text != "none")
        sizes, window_tokens = sizes_of_checkpoint(checkpoint), model_window(checkpoint.folder)
    else:
        sizes, window_tokens = read_model_sizes(model)
    rates = machine_rates.measure_rates(refined=goal != "acc-opt")  # layers of 16 words are not refined
    calibrated, balanced = text != "none", goal == "bal"
    predicted = predict(sizes, rates, samples, window_tokens, balanced, transform, has_transformers())
    if input_sparsity:
        levels = len(levels_around(input_sparsity)) - 1  # all but the dense one
        passes = 1 if input_allocation == "uniform" else 1 + levels * len(sizes.layers)
        found = sparse_inputs_stage(sizes, rates, predicted.written_b, passes)
        predicted = replace(predicted, calibrated=(*predicted.calibrated, found))
    gpu = _gpu(device)
    on_gpu = gpu and predict_on_device(sizes, predicted, rates, gpu, samples, window_tokens, calibrated, balanced)
    return Forecast(predicted, len(sizes.layers), samples, window_tokens, calibrated, on_gpu)


def _gpu(device: str) -> DeviceRates | None:
    """Return the GPU that a forecast is for, None for the CPU.

    Raises:
        InputError: There is no such device.
    """
    check_device_name(device)
    if device == "auto":
        return H100
    found = find_device(device)
    memory_b = device_memory_b(found)
    if memory_b is None:
        return None
    return replace(H100, name=f"{describe_device(found)}, at the rates of an H100", memory_b=memory_b)


def _places_note(rounding: tuple[str, ...], calibrating: str) -> tuple[str, ...]:
    """Return a sentence on the GPUs that computed, or none if there were no GPUs."""
    said = [] if calibrating == "cpu" else [f"calibrated on {describe_device(calibrating)}"]
    if rounding == ("cuda",):
        said.append("rounded on the GPUs of the cluster")
    elif rounding != ("cpu",):
        said.append(f"rounded on {' and '.join(map(describe_device, rounding))}")
    return (", ".join(said),) if said else ()


def _check(goal: object, transform: Transform, calibration: str, samples: object) -> None:
    check_choice("goal", goal, get_args(Goal))
    check_choice("transform", transform, get_args(Transform))
    check_count("samples", samples, 1)
    require_calibration(transform, calibration != "none")


def _check_sparsity(sparsity: float, allocation: InputAllocation, calibration: str) -> None:
    """Check how many inputs are left out.

    Raises:
        InputError: A value is not allowed or would change nothing, or there is no calibration text.
    """
    check_range("input_sparsity", sparsity, 0.0, MOST_SPARSITY)
    check_choice("input_allocation", allocation, get_args(InputAllocation))
    if not sparsity and allocation != "uniform":
        raise InputError("input_allocation must come with input_sparsity, the share that it divides among the layers")
    if sparsity and calibration == "none":
        raise InputError("input_sparsity must have a calibration text, as it gives the thresholds; name one")


def _budget(cost: object, budget: Mapping[str, float | str] | None) -> Budget:
    """Return the budgets of `quantize`, after a check of them and of the cost.

    Raises:
        InputError: A key or a value is not allowed.
    """
    if not isinstance(cost, str) or (cost not in get_args(CostOf) and not re.match("(simulated|measured):.", cost)):
        raise InputError(f"cost must be {COST_WORDS}, not {cost!r:.80}")
    try:
        return msgspec.convert(dict(budget or {}), Budget)
    except (*MALFORMED, TypeError) as error:
        raise InputError(
            f"budget must hold any of bits_per_weight, time_s, energy_j (numbers) and level (tile or layer): {error}"
        ) from error


def _clocks(clocks_ghz: Sequence[float]) -> tuple[float, ...]:
    """Return the clocks of the classes, none or two, the first above the second.

    Raises:
        InputError: They are others.
    """
    if not isinstance(clocks_ghz, Sequence) or isinstance(clocks_ghz, str):
        raise InputError(f"clocks_ghz must be a sequence of two clocks in GHz, not {clocks_ghz!r:.80}")
    for clock in clocks_ghz:
        check_range("a clock in GHz", clock, 0.001, 1000.0)
    found = tuple(float(clock) for clock in clocks_ghz)
    if found and not (len(found) == 2 and found[0] > found[1]):
        raise InputError(
            "the clocks must be that of the fast class, then a lower one of the slow class, not "
            f"{', '.join(f'{clock:g}' for clock in found)} GHz"
        )
    return found


def _open(model: str, exclude: str | Sequence[str] | None) -> Checkpoint:
    return open_checkpoint(model if is_url(model) else model_folder(model), exclude=texts("exclude", exclude))


def _folder(out: str) -> Path:
    """Return a local output folder from its path or its file:// URL.

    Raises:
        InputError: There is a file of that name.
    """
    folder = local_path(out) or Path(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output folder {folder} must be a folder, and it is a file; name another")
    return folder


def _windows(folder: Path, text: str, samples: int) -> "tuple[np.ndarray | None, str, tuple[str, ...]]":
    """Return calibration windows as tokens [samples, window], a name for their source, and notes for the user.

    Without calibration the windows are None.
    """
    if text == "none":
        return None, DATA_FREE, ()
    found = read_text(folder, text, "calibration")
    windows, source = calibration_windows(folder, found, samples)
    return windows, source, missing_windows(found, windows, samples)
