"""Quantize a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import msgspec

from haloquant.api.arguments import check_choice, check_count, check_range, path_text
from haloquant.api.models.quantization_checks import (
    check_calibration_dtype,
    check_common,
    check_sparsity,
    open_source,
    read_budget,
    read_clocks,
    read_rounding,
)
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs.devices import quantization_devices, with_devices
from haloquant.jobs.engine.metering import StageUsage, usage_table
from haloquant.jobs.engine.tasks import parse_engine
from haloquant.jobs.inputs import (
    calibration_windows,
    missing_windows,
    read_text,
)
from haloquant.jobs.quantize.budgets import check_budgets
from haloquant.jobs.quantize.job import quantize_checkpoint
from haloquant.jobs.quantize.layer_costs import check_layer_costs
from haloquant.jobs.quantize.layer_rounding import rounding_place
from haloquant.jobs.quantize.model_key import model_key
from haloquant.jobs.quantize.request import Request
from haloquant.jobs.quantize.shared_storage import upload_model, work_folder
from haloquant.jobs.recipe_checks import check_classes, check_used
from haloquant.lm.checkpoint.full_precision_layers import LeftLayer
from haloquant.lm.checkpoint.reader import content_hash
from haloquant.lm.checkpoint.remote import is_url, local_path
from haloquant.lm.devices import card_of, describe_device
from haloquant.quant.input_sparsity.levels import InputAllocation
from haloquant.recipe import (
    MOST_TILE,
    Basis,
    Goal,
    Hardware,
    Method,
    Quantize,
    Recipe,
    Transform,
)
from haloquant.records import CalibrationDtype, ValueHessian
from haloquant.report.warnings import delay_risk
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
    calibrated_on: str
    """Where calibration computed, such as "cpu" or "cuda:0"; "cpu" without one."""
    rounded_on: tuple[str, ...]
    """Where layers were rounded: "cpu", GPUs such as "cuda:0", or "cuda" for those of a cluster."""

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
            "calibrated_on": self.calibrated_on,
            "rounded_on": list(self.rounded_on),
            "seconds": self.seconds,
            "peak_bytes": self.peak_bytes,
            "stages": usage_table(self.stages),
        }


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
    calibration_dtype: CalibrationDtype = "float32",
    transform: Transform = "none",
    method: Method = "haloquant",
    clocks_ghz: Sequence[float] = (),
    delay_basis: Basis = "static",
    energy_weight: float = 0.0,
    cost: str = "time",
    budget: Mapping[str, float | str] | None = None,
    input_sparsity: float = 0.0,
    input_allocation: InputAllocation = "uniform",
    low_share: float = 0.0,
    low_bits: int = 4,
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
        calibration_dtype: Type of the products of layers and attention in calibration: "float32", or "bfloat16", which
            a GPU multiplies about ten times as fast. Sums over tokens are float32 in both.
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
        low_share: Share of the tokens whose inputs `load(activations="mixed")` rounds to `low_bits`, 0 to 1; the inputs
            of the others are rounded to 8 bits. They are those whose queries are least alike the first token's key
            (EdgeQAT, arXiv 2402.10787); the model stores a threshold for each attention. 0 stores none.
        low_bits: Bits of the inputs of these tokens, 2 to 7.
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
    check_common(goal, transform, text, samples)
    check_choice("value_hessian", value_hessian, get_args(ValueHessian))
    check_calibration_dtype(calibration_dtype, text)
    check_choice("method", method, get_args(Method))
    if method == "paper" and text == "none":
        raise InputError("the method paper must have a calibration text, as it ranks tiles by gradients; name one")
    check_choice("delay_basis", delay_basis, get_args(Basis))
    limits = read_budget(cost, budget)
    check_range("energy_weight", energy_weight, 0.0, 100.0)
    check_count("tile", tile, 8, MOST_TILE)
    check_range("sparse_budget", sparse_budget, 0.0, 0.5)
    check_range("prune_to_zero", prune_to_zero, 0.0, 0.99)
    check_sparsity(input_sparsity, input_allocation, text)
    rounding = read_rounding(low_share, low_bits, input_sparsity, text)
    where, mac = parse_engine(path_text("engine", engine), workers), path_text("profile", profile)
    devices, calibrating = quantization_devices(device, where, text)
    devices = ("cpu",) if method == "paper" else devices
    where = with_devices(where, devices)
    checkpoint = open_source(model, exclude)
    windows, source, short = _windows(checkpoint.folder, text, samples)
    recipe = Recipe(
        hardware=Hardware(profile=mac, tile=tile, delay_basis=delay_basis, clocks_ghz=read_clocks(clocks_ghz)),
        quantize=Quantize(
            sparse_budget=sparse_budget,
            prune_to_zero=prune_to_zero,
            compensate=compensate,
            value_hessian=value_hessian,
            calibration_dtype=calibration_dtype,
            transform=transform,
            method=method,
            energy_weight=energy_weight,
            cost=cost,
            budget=limits,
            input_sparsity=input_sparsity,
            input_allocation=input_allocation,
            **rounding,
        ),
    )
    if limits.limited:  # the goal is not a part of the recipe here
        recipe = msgspec.structs.replace(recipe, quantize=msgspec.structs.replace(recipe.quantize, goals=(goal,)))
    check_used(recipe, section="")
    check_layer_costs(recipe, checkpoint)
    mac_profile = find_profile(mac, delay_basis)
    check_classes(recipe, mac_profile)
    check_budgets(recipe, checkpoint, mac_profile)
    calibrating = "cpu" if windows is None else calibrating
    card = card_of(devices[0]) or card_of(calibrating)
    asked = Request(mac_profile, goal, recipe, windows, source, calibrating, rounding_place(method, devices[0]), card)
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
    placed = _places_note(devices, calibrating)
    risk = mac_profile.provenance.get("delay", "")
    risks = (delay_risk(risk),) if risk else ()
    bits, notes, stages = done.bits, (*short, *placed, *risks, *done.notes), tuple(done.stages)
    return Quantized(
        folder, bits.per_weight, bits.weights, done.layers, done.reused, done.source, done.seconds, done.peak_b, notes,
        stages, done.left, done.few_tokens, calibrating, devices,
    )  # fmt: skip


def _places_note(rounding: tuple[str, ...], calibrating: str) -> tuple[str, ...]:
    """Return a sentence on the GPUs that computed, or none if there were no GPUs."""
    said = [] if calibrating == "cpu" else [f"calibrated on {describe_device(calibrating)}"]
    if rounding == ("cuda",):
        said.append("rounded on the GPUs of the cluster")
    elif rounding != ("cpu",):
        said.append(f"rounded on {' and '.join(map(describe_device, rounding))}")
    return (", ".join(said),) if said else ()


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
