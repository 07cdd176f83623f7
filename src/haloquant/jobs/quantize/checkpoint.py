"""Quantize a checkpoint of any size: a layer at a time, resumable from finished layers, written packed at the end.

Without calibration nothing of torch is needed and every weight of a layer counts alike. With it, one decoder block is
in memory at a time. The balanced goal needs every tile's losses before any class is given, so it passes twice. The
codebooks are chosen for weights behind the transform, so its scales have a pass of their own before all others.
"""

import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from haloquant.errors import InputError
from haloquant.jobs.engine.metering import Meter, StageUsage, usage_table
from haloquant.jobs.engine.session import open_session
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine
from haloquant.jobs.inputs import Progress, silent
from haloquant.jobs.provenance import versions
from haloquant.jobs.quantize.passes import Asked, Passes
from haloquant.jobs.quantize.transform import NOTE, need_calibration
from haloquant.lm.checkpoint.complete import check_whole, shared_layers
from haloquant.lm.checkpoint.reader import Checkpoint, content_hash
from haloquant.lm.export.folding import folds
from haloquant.lm.export.model_folder import MANIFEST
from haloquant.lm.export.original_files import refuse_stacked
from haloquant.lm.export.packed import export_packed
from haloquant.quant.tiles import padding_note
from haloquant.records import BitCount
from haloquant.store.atomic_files import LOCK, claim_output, content_key, remove_leftovers, sole_user
from haloquant.store.profiles import profile_sha256
from haloquant.store.steps import Steps

MEANING = 2  # of what is computed from these settings: raised so that steps of an older meaning are not found


@dataclass(frozen=True)
class Stream:
    """What `quantize_checkpoint` left."""

    folder: Path
    bits: BitCount
    layers: int
    reused: int
    source: str  # how sensitivity was had
    seconds: float
    peak_b: float  # most memory of this process since it began
    notes: tuple[str, ...] = ()
    stages: tuple[StageUsage, ...] = ()  # what each took


def quantize_checkpoint(
    checkpoint: Checkpoint, asked: Asked, out: Path, progress: Progress = silent, engine: Engine = THIS_PROCESS
) -> Stream:
    """Quantize every linear layer and write the packed model to `out`; a rerun goes on from finished layers.

    Layers and codebooks are kept in `<out>.work` until the model is whole, then removed. Layers and shards of
    calibration are tasks of the engine; the bytes written do not depend on it.

    Raises:
        CheckpointError: the checkpoint lacks a part of its model (`lm.whole`), or holds what is no number.
        InputError: `out` holds files; or a transform is asked for without calibration, or of a model that has no place
            for its scales.
        BusyError: another run works on the same output.
        ToolError: workers died and the retries did not help.
    """
    began, meter, work = time.monotonic(), Meter(), out.with_name(f"{out.name}.work")
    _clear(work, out)
    _check_free(out)
    refuse_stacked(checkpoint)
    check_whole(checkpoint)
    _check_transform(checkpoint, asked)
    with meter.stage("read and hash"):
        model = content_hash(checkpoint)
    key = content_key(model, _settings(asked), [layer.name for layer in checkpoint.layers])
    claim_output(work)
    with sole_user(work):
        _check_free(out)  # again: hashing takes minutes, and another run may have ended meanwhile
        remove_leftovers(out)  # under the lock: on shared storage a process of another machine looks dead
        scratch = work / "scratch"  # nothing in it outlives a run
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        with open_session(engine, scratch) as session:
            bench = Passes(checkpoint, asked, Steps(work / "steps", versions()), key, session, progress, meter)
            bench.make_all()
        with ExitStack() as stage:
            stage.enter_context(meter.stage("pack"))

            def tell(done: int, total: int) -> None:
                progress("pack", done, total)
                if done == total:
                    stage.close()
                    stage.enter_context(meter.stage("copy and check"))

            exported = export_packed(
                checkpoint,
                bench.layers(),
                out,
                profile_name=asked.profile.name,
                profile_sha256=profile_sha256(asked.profile),
                made_by={**versions(), "goal": asked.goal, "source": asked.source, **_named(asked)},
                changed=bench.folded(),
                progress=tell,
            )
        _remove(work, out)
    layers, seconds, transform = len(checkpoint.layers), time.monotonic() - began, asked.recipe.quantize.transform
    notes = () if transform == "none" else (NOTE.format(transform, len(bench.scales), layers),)
    notes += (*_shared_note(checkpoint), *padding_note(tuple(bench.grids.values())))
    return Stream(out, exported.bits, layers, bench.reused, asked.source, seconds, meter.most_b, notes, meter.usage())


def told(done: Stream) -> dict[str, object]:
    """The result as plain values, for `--json`."""
    return {
        "folder": str(done.folder),
        "layers": done.layers,
        "reused": done.reused,
        "bits_per_weight": done.bits.per_weight,
        "weights": done.bits.weights,
        "source": done.source,
        "notes": list(done.notes),
        "seconds": done.seconds,
        "peak_bytes": done.peak_b,
        "stages": usage_table(done.stages),
    }


def _shared_note(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What shares the bytes of a layer, and so is not quantized by itself."""
    found = [(name, checkpoint.shared[name]) for name in shared_layers(checkpoint)]
    return tuple(f"{name} stays in full precision, as it shares the bytes of {other}" for name, other in found)


def _check_free(out: Path) -> None:
    if out.exists() and any(out.iterdir()):
        raise InputError(f"the output folder {out} must be empty or not exist yet, and it holds files; name another")


def _remove(work: Path, out: Path) -> None:
    """Remove the folder of work, first from its name: what a killed process leaves of it is swept by the next."""
    doomed = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(doomed, ignore_errors=True)  # of a killed process of the same number, as in containers
    work.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)  # another machine may be sweeping it


def _clear(work: Path, out: Path) -> None:
    """Remove what a run left that was killed after its model was whole; a folder that is not ours stays."""
    if not (out / MANIFEST).is_file():
        return
    if (work / LOCK).is_file():
        with sole_user(work):
            _remove(work, out)
    remove_leftovers(out)


def _check_transform(checkpoint: Checkpoint, asked: Asked) -> None:
    transform = asked.recipe.quantize.transform
    if transform == "none":
        return
    need_calibration(transform, asked.calibration is not None)
    if not folds(checkpoint):
        raise InputError(
            f"the transform {transform} must have a norm or a linear layer to fold its scales into, and the chosen "
            f"layers of this {checkpoint.architecture.model_type} model leave none; quantize it without a transform"
        )


def _named(asked: Asked) -> dict[str, str]:
    transform = asked.recipe.quantize.transform
    return {} if transform == "none" else {"transform": transform}


def _settings(asked: Asked) -> list[object]:
    tokens = None if asked.calibration is None else content_key(asked.calibration.tolist())
    quantize, hardware, seed = asked.recipe.quantize, asked.recipe.hardware, asked.recipe.seed
    return [MEANING, profile_sha256(asked.profile), asked.goal, tokens, quantize, hardware.tile, hardware.margin, seed]
