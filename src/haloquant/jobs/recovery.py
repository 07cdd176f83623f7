"""Train scales and offsets of a packed model towards its full-precision model, and write the resulting model."""

import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from haloquant.errors import InputError
from haloquant.jobs.evaluation import Dtype, open_model
from haloquant.jobs.inputs import Progress, Text, is_packed, model_folder, model_window, read_text, silent, text_file
from haloquant.jobs.provenance import versions
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint
from haloquant.lm.devices import describe_device
from haloquant.lm.evaluation.perplexity import default_window, perplexity, text_config
from haloquant.lm.export.model_folder import check_new_folder
from haloquant.lm.export.trained_scales import export_with_scales
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.reader import open_packed, refuse_adapter
from haloquant.lm.recovery import Recovered, Training, recover
from haloquant.lm.text import load_text, tokenize
from haloquant.quant.format.packing import OFFSET
from haloquant.store.atomic_files import sole_writer

MOST_HELD_OUT = 8  # windows
_TRAINED = {"scales": "scales", "offsets": "offsets", "both": "scales and offsets"}
SAME_TEXT = (
    "the judging text is part of the training text, or the other way round: its figures say nothing on other text"
)


class Judged(msgspec.Struct, frozen=True):
    """Losses on a text that judges, in nats per token: of full precision, and the packed model's rise over it.

    `error` is the standard error of the rise after less that before, from the differences window by window; None with a
    single window.
    """

    text: str
    windows: int
    full_precision: float
    rise_before: float
    rise_after: float
    error: float | None


class Recovery(msgspec.Struct, frozen=True):
    """The result of `recover`.

    Divergences are KL(full precision || packed) in nats per token, on windows of the training text that did not train.
    `taken_after` is the step whose values were written; 0 means that none was better than those of the start.
    `bits_per_weight` is what the written model stores.
    """

    folder: str
    layers: int
    steps: int
    taken_after: int
    training_windows: int
    held_out_windows: int
    divergence_before: float
    divergence_after: float
    bits_per_weight: float
    seconds: float
    judged: Judged | None = None
    notes: tuple[str, ...] = ()


def recover_model(
    model: str,
    teacher: str,
    text: str,
    out: Path,
    how: Training,
    judge: str | None = None,
    judge_tokens: int = 0,
    dtype: Dtype = "float32",
    device: str = "cpu",
    progress: Progress = silent,
) -> Recovery:
    """Train scales, offsets or both of a packed model and write the result.

    Args:
        model: The packed model's folder.
        teacher: The full-precision model: a folder, or `demo`.
        text: The training text, or `demo`.
        out: The folder to write; empty or not there yet.
        how: What is trained, steps, learning rate, windows per step and seed.
        judge: A text on which the loss is measured before and after; None measures none.
        judge_tokens: Number of its tokens that are used; 0 takes the whole text.
        dtype: The floating-point type in which both models compute.
        device: Where they compute.
        progress: Called with the name of a task, steps done and in total.

    Raises:
        BusyError: Another process writes the output folder.
        InputError: The model is not packed, the teacher is, its vocabulary is another, the text is too short, or the
            output folder is not empty.
    """
    check_new_folder(out)
    with sole_writer(out):
        return _recover_model(model, teacher, text, out, how, judge, judge_tokens, dtype, device, progress)


def _recover_model(
    model: str,
    teacher: str,
    text: str,
    out: Path,
    how: Training,
    judge: str | None,
    judge_tokens: int,
    dtype: Dtype,
    device: str,
    progress: Progress,
) -> Recovery:
    """Do what `recover_model` does, while no other process writes `out`."""
    begun_s = time.monotonic()
    packed = open_packed(model_folder(model))
    refuse_adapter(packed, "trained")
    origin = model_folder(teacher)
    if is_packed(origin):
        raise InputError(f"the teacher must be the full-precision model, and {teacher} is packed")
    found = read_text(packed.folder, text, "calibration")
    training, held_out = split_windows(found, model_window(packed.folder))
    judged_by = None if judge is None else read_text(packed.folder, judge, "evaluation")
    check_tokenizer(packed.folder, origin, found, text)
    checkpoint = open_checkpoint(origin)
    full = open_model(origin, dtype, device).model
    loaded = open_model(packed.folder, dtype, device)
    check_vocabulary(loaded.model, full)
    before = None if judged_by is None else _losses(full, loaded.model, judged_by, judge_tokens, progress)
    done = recover(
        loaded.model,
        lambda ids: full(input_ids=ids, use_cache=False).logits,
        training,
        held_out,
        how,
        lambda step, total: progress(f"train {_TRAINED[how.train]}", step, total),
    )
    use_scales(loaded.model, done)
    judged, notes = None, list(checkpoint.notes)
    if judge is not None and judged_by is not None and before is not None:
        judged = _judged(judged_by, *before, _window_nats(loaded.model, judged_by, judge_tokens, "after", progress))
        notes += [SAME_TEXT] if overlaps(text, judge) else []
    if done.step == 0 and how.steps:
        notes.append("no step lowered the divergence on the held-out windows, so the model is as it was")
    made_by = {
        "recovery teacher": f"{checkpoint.folder.name}, sha256 {content_hash(checkpoint)}",
        "recovery text": f"{found.name}, sha256 {found.sha256}",
        "recovery settings": msgspec.json.encode(how).decode(),
        "recovery device": f"{describe_device(device)}, {dtype}",
        "recovery step": str(done.step),
        **{f"recovery {name}": version for name, version in versions().items()},
    }
    bits = export_with_scales(packed, done.scales, out, made_by, offsets=done.offsets)
    return Recovery(
        str(out),
        len(done.scales),
        how.steps,
        done.step,
        len(training),
        len(held_out),
        float(done.before.mean()),
        float(done.after.mean()),
        bits,
        time.monotonic() - begun_s,
        judged,
        tuple(notes),
    )


def split_windows(text: Text, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows of a text that train, [n, length], and those that are held out, spread evenly.

    One window in eight is held out, at most `MOST_HELD_OUT`.

    Raises:
        InputError: The text has less than two windows.
    """
    count = len(text.tokens) // length
    if count < 2:
        raise InputError(
            f"the training text must have at least {2 * length} tokens, a window of {length} to train on and one that "
            f"is held out, but {text.name} has {len(text.tokens)}; give a longer text"
        )
    windows = text.tokens[: count * length].reshape(count, length)
    held_out = np.linspace(0, count - 1, max(1, min(MOST_HELD_OUT, count // 8)) + 2).round().astype(int)[1:-1]
    return np.delete(windows, held_out, axis=0), windows[held_out]


def check_tokenizer(folder: Path, teacher: Path, text: Text, path: str) -> None:
    """Refuse a teacher whose tokenizer gives other tokens for the text than that of the packed model.

    Raises:
        InputError: It does.
    """
    tokens = tokenize(teacher, load_text(text_file(path, "calibration")))
    if not np.array_equal(tokens, text.tokens):
        raise InputError(
            f"the teacher must be the model that was packed, with the same tokenizer, and that of {teacher} gives "
            f"other tokens for {text.name} than that of {folder}"
        )


def check_vocabulary(model: Any, teacher: Any) -> None:
    """Refuse a teacher that predicts another number of tokens than the packed model.

    Raises:
        InputError: It does.
    """
    sizes = [int(text_config(one).vocab_size) for one in (model, teacher)]
    if sizes[0] != sizes[1]:
        raise InputError(f"the teacher must have the packed model's vocabulary of {sizes[0]} tokens, not {sizes[1]}")


def overlaps(one: str, other: str) -> bool:
    """Return whether a text of training and one of judging, files or `demo`, are equal or contain each other."""
    texts = [load_text(text_file(path, use)) for path, use in ((one, "calibration"), (other, "evaluation"))]
    return texts[0] in texts[1] or texts[1] in texts[0]


def use_scales(model: Any, found: Recovered) -> None:
    """Put trained scales and offsets into a loaded packed model."""
    for module in model.modules():
        if isinstance(module, HaloLinear):
            device = module.weight_packed.device
            module.weight_scale = torch.from_numpy(found.scales[module.name]).to(device)
            if module.name in found.offsets:
                module.register_buffer(OFFSET, torch.from_numpy(found.offsets[module.name]).to(device))


def _window_nats(model: Any, text: Text, tokens: int, when: str, progress: Progress) -> np.ndarray:
    """Return the loss of each window of a text, nats per token [windows]."""
    limit = max(1, tokens // default_window(model)) if tokens else None
    score = perplexity(
        model, text.tokens, max_windows=limit, progress=lambda done, total: progress(f"judge {when}", done, total)
    )
    return np.array(score.window_nats)


def _losses(teacher: Any, model: Any, text: Text, tokens: int, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses of full precision and of the packed model before training, by window."""
    return (
        _window_nats(teacher, text, tokens, "full precision", progress),
        _window_nats(model, text, tokens, "before", progress),
    )


def _judged(text: Text, full: np.ndarray, before: np.ndarray, after: np.ndarray) -> Judged:
    """Return mean losses and the error of the change, from the losses by window."""
    change, count = after - before, len(full)
    error = float(change.std(ddof=1)) / count**0.5 if count > 1 else None
    return Judged(
        text.name, count, float(full.mean()), float((before - full).mean()), float((after - full).mean()), error
    )
