"""Quantize a whole checkpoint of any size: one layer at a time, resumable, written in packed form at the end.

Without calibration torch is not needed, and all weights of a layer count the same. With calibration, one decoder block
is in memory at a time. The goal `bal` needs the losses of all tiles before any class is chosen, so it passes over the
layers twice; the second pass reads the statistics that the first kept on disk, if there was room. A transform adds one
pass before all others, because the codebooks are chosen for scaled weights.

`jobs.compare` makes the same model with the same passes.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from haloquant.errors import InputError
from haloquant.jobs.engine.metering import Meter, StageUsage
from haloquant.jobs.engine.session import open_session
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine
from haloquant.jobs.inputs import Progress, silent
from haloquant.jobs.provenance import step_versions, versions
from haloquant.jobs.quantize.allocation import uniform_maps
from haloquant.jobs.quantize.checkpoint_passes import Maps, Passes, expert_notes, unreached_notes
from haloquant.jobs.quantize.forecast.device_room import check_device_room
from haloquant.jobs.quantize.model_check import check_in_transformers
from haloquant.jobs.quantize.model_key import model_key
from haloquant.jobs.quantize.request import Request, made_by, passes_key
from haloquant.jobs.quantize.task_runner import TaskRunner
from haloquant.jobs.quantize.transform import NOTE, require_calibration
from haloquant.lm.checkpoint.completeness import check_complete
from haloquant.lm.checkpoint.full_precision_layers import LeftLayer, left_layers, left_notes
from haloquant.lm.checkpoint.hub import origin_entry
from haloquant.lm.checkpoint.reader import Checkpoint, content_hash
from haloquant.lm.export.folding import folds
from haloquant.lm.export.model_folder import MANIFEST, list_small_files
from haloquant.lm.export.packed import export_packed
from haloquant.quant.float16 import has_small_scales, small_scales_note
from haloquant.quant.format.packing import PackedWeight
from haloquant.quant.tiles import padding_note
from haloquant.recipe import Goal
from haloquant.records import BitCount
from haloquant.store.atomic_files import LOCK, claim_output, sole_user
from haloquant.store.finished_steps import Steps
from haloquant.store.profiles import profile_sha256
from haloquant.store.temporary_paths import remove_folder, remove_leftovers


@dataclass(frozen=True)
class QuantizationResult:
    """The result of `quantize_checkpoint`.

    `reused` counts the layers that an earlier run had finished. `source` says where the sensitivity comes from.
    `peak_b` is the peak memory of this process since it began, in bytes. `stages` holds the time and memory of each
    stage. `left` holds the matrices that stay in full precision. `few_tokens` holds the number of calibration tokens of
    each expert's layer that is rounded with the mean of its layer's experts, because few tokens reached it. `key` is
    the hash of everything that the model depends on (`model_key`).
    """

    folder: Path
    bits: BitCount
    layers: int
    reused: int
    source: str
    seconds: float
    peak_b: float
    notes: tuple[str, ...] = ()
    stages: tuple[StageUsage, ...] = ()
    left: tuple[LeftLayer, ...] = ()
    few_tokens: Mapping[str, int] = field(default_factory=dict)
    key: str = ""


def quantize_checkpoint(
    checkpoint: Checkpoint, request: Request, out: Path, progress: Progress = silent, engine: Engine = THIS_PROCESS
) -> QuantizationResult:
    """Quantize every linear layer of a checkpoint and write the packed model to `out`.

    Finished layers and codebooks are kept in `<out>.work` until the model is complete; a run that was stopped continues
    from them. Layers and shards of calibration windows are tasks of the engine. The written bytes do not depend on it.

    Args:
        checkpoint: The model.
        request: The settings.
        out: Folder of the packed model; empty or not there yet.
        progress: Called with the name of a task, its parts done and its parts in all.
        engine: Where the tasks run.

    Raises:
        CheckpointError: A part of the model is missing in the checkpoint (`lm.checkpoint.completeness`), or a weight is
            not finite.
        InputError: `out` holds files; there is a transform, a sparsity of inputs or a share of tokens in low bits
            without calibration, a transform for a model whose inputs cannot be folded, or low bits for one whose tokens
            cannot be scored.
        BusyError: Another run works on the same output.
        ToolError: Workers died and the retries did not help.
    """
    if (goal := request.goal) is None:
        raise ValueError("a quantization must have a goal")
    began, meter, work = time.monotonic(), Meter(), out.with_name(f"{out.name}.work")
    _remove_finished_work(work, out)
    _check_empty(out)
    check_complete(checkpoint)
    list_small_files(checkpoint.folder)  # a link out of the folder is refused now, and not when the layers are done
    unchecked = check_in_transformers(checkpoint, request.calibration is not None)
    _check_transform(checkpoint, request)
    _check_sparsity(request)
    _check_token_bits(checkpoint, request)
    windows = request.calibration
    rounding = engine.devices or (request.place.device,)
    check_device_room(checkpoint, rounding, request.device, None if windows is None else windows.shape[1])
    with meter.stage("read and hash"):
        model = content_hash(checkpoint)
    key = passes_key(model, checkpoint, request)
    claim_output(work)
    with sole_user(work):
        _check_empty(out)  # again: hashing can take minutes, and another run may have ended in that time
        for folder in (work, out):
            remove_leftovers(folder)
        scratch = work / "scratch"  # only for this run
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        with open_session(engine, scratch) as session:
            steps = Steps(work / "steps", step_versions())
            passes = Passes(checkpoint, request, TaskRunner(checkpoint, request, steps, key, session, progress, meter))
            maps = _maps(passes, goal)
            passes.quantize([maps])
            few, unreached = passes.poor_experts(maps), passes.unreached(maps)
        with ExitStack() as stage:
            stage.enter_context(meter.stage("pack"))

            def tell(done: int, total: int) -> None:
                progress("pack", done, total)
                if done == total:
                    stage.close()
                    stage.enter_context(meter.stage("copy and check"))

            small: list[str] = []
            masked, sparse_note = bool(request.recipe.quantize.input_sparsity), ()
            mixed = request.recipe.quantize.activations == "mixed"
            exported = export_packed(
                checkpoint,
                _with_small_scales(passes.layers(maps), small),
                scratch / "dense" if masked or mixed else out,
                profile_name=request.profile.name,
                profile_sha256=profile_sha256(request.profile),
                made_by={**versions(), **made_by(request, goal), **origin_entry(checkpoint.origin)},
                changed=passes.folded(),
                progress=tell,
            )
        bits = exported.bits
        if masked:
            from haloquant.jobs.input_sparsity import export_with_masks  # needs torch

            with meter.stage("sparse inputs"):
                added, said = export_with_masks(scratch / "dense", out, request, progress)
            bits += BitCount(scales=added)
            sparse_note = (said,)
        if mixed:
            from haloquant.jobs.mixed_activations import export_with_token_bits  # needs torch

            with meter.stage("thresholds of tokens"):
                added, said = export_with_token_bits(scratch / "dense", out, request, progress)
            bits += BitCount(scales=added)
            sparse_note = (said,)
        remove_folder(work)
    layers, seconds, transform = len(checkpoint.layers), time.monotonic() - began, request.recipe.quantize.transform
    notes = () if transform == "none" else (NOTE.format(transform, len(passes.scales), layers),)
    left = left_layers(checkpoint)
    notes = (*checkpoint.notes, *notes, *unchecked, *left_notes(left), *expert_notes(few, passes.experts))
    notes = (*notes, *unreached_notes(unreached))
    notes += padding_note(tuple(passes.grids.values()))
    notes += (*small_scales_note(small), *sparse_note)
    if goal == "bal" and (within := passes.allocator.within) is not None:
        notes += (within.note,)
    return QuantizationResult(
        out,
        bits,
        layers,
        passes.reused,
        request.source,
        seconds,
        meter.most_b,
        notes,
        meter.usage(),
        left,
        few,
        model_key(model, checkpoint, request),
    )


def _with_small_scales(layers: Iterator[PackedWeight], found: list[str]) -> Iterator[PackedWeight]:
    """Yield the same layers, and note the names of those that have small scales."""
    for packed in layers:
        if has_small_scales(packed.tensors["weight_scale"]):
            found.append(packed.layer)
        yield packed


def _check_empty(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise InputError(f"the output folder {out} must be empty or not exist yet, and it holds files; name another")


def _remove_finished_work(work: Path, out: Path) -> None:
    """Remove the work folder of a run that was killed after its model was complete.

    A folder without our lock file is not ours and stays.
    """
    if not (out / MANIFEST).is_file():
        return
    if (work / LOCK).is_file():
        with sole_user(work):
            remove_folder(work)
    for folder in (work, out):
        remove_leftovers(folder)


def _check_transform(checkpoint: Checkpoint, request: Request) -> None:
    transform = request.recipe.quantize.transform
    if transform == "none":
        return
    require_calibration(transform, request.calibration is not None)
    if not folds(checkpoint):
        raise InputError(
            f"the transform {transform} must have a norm or a linear layer to fold its scales into, and the chosen "
            f"layers of this {checkpoint.architecture.model_type} model leave none; quantize it without a transform"
        )


def _check_sparsity(request: Request) -> None:
    """Refuse sparse inputs without a calibration text.

    Raises:
        InputError: There is none.
    """
    if request.recipe.quantize.input_sparsity and request.calibration is None:
        raise InputError("sparse inputs must have a calibration text, as it gives their thresholds; name one")


def _check_token_bits(checkpoint: Checkpoint, request: Request) -> None:
    """Refuse tokens in low bits without a calibration text, or in a model whose tokens cannot be scored.

    Raises:
        InputError: They cannot be chosen.
    """
    if request.recipe.quantize.activations != "mixed":
        return
    if request.calibration is None:
        raise InputError("tokens in low bits must have a calibration text, as it gives their thresholds; name one")
    from haloquant.lm.model_check import check_scored  # needs torch

    check_scored(checkpoint)


def _maps(passes: Passes, goal: Goal) -> Maps:
    """Return the class of every tile by layer. Only *bal*, and *acc-opt* of the paper's method, measure the tiles."""
    measured = goal == "bal" or (goal == "acc-opt" and passes.request.recipe.quantize.method == "paper")
    return passes.allocator.goal_maps(goal) if measured else uniform_maps(passes.grids, goal)
