"""Evaluate a model folder, full-precision or packed: perplexity on a text, or lm-eval tasks."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import msgspec
import torch

from haloquant.errors import InputError, MissingExtraError
from haloquant.jobs.input_sparsity import InputSparsity, mac_density, masks_of_model, stored_masks
from haloquant.jobs.inputs import Progress, is_packed, model_folder, model_window, read_text, silent, text_file
from haloquant.jobs.mixed_activations import TokenBits, check_mixed, mixed_of_model
from haloquant.lm.calibration.by_block import perplexity_by_block
from haloquant.lm.checkpoint.completeness import check_complete
from haloquant.lm.checkpoint.hub import origin
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.checkpoint.reader import Checkpoint, open_checkpoint
from haloquant.lm.devices import describe_device
from haloquant.lm.evaluation.perplexity import Perplexity, default_window, perplexity, whole_windows
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
from haloquant.lm.input_sparsity import InputMasks
from haloquant.lm.packed.decoded import decoded_weights
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import has_adapter, open_packed
from haloquant.lm.packed.token_head import round_head
from haloquant.lm.quiet_transformers import quiet_transformers
from haloquant.lm.text import load_text, load_tokenizer
from haloquant.lm.torch_model import load_model
from haloquant.quant.format.input_masks import MASK_TENSORS

TEXT_TASKS = ("text", "wikitext", "last-word", "next-passage")  # tasks of lm-eval that are made from a text file
Dtype = Literal["float32", "bfloat16", "float16"]
WholeActivations = Literal["float", "int8"]


class Evaluation(msgspec.Struct, frozen=True):
    """The perplexity of a model on a text.

    `bits_per_weight` counts the stored bits of the linear layers. `dtype` is the floating-point type in which the model
    computed. `standard_error` is None if the text is a single window. `notes` are sentences on how the model was read,
    such as an adapter that was merged. `input_density` is the share of the multiply-accumulates of the linear layers
    that the tokens with sparse inputs kept; None where all inputs are dense. `low_share` is the share of the tokens
    whose inputs were rounded to the low bits, as the mean over the linear layers; None where all have the same bits.
    `head_bits` is 8 where the weights of the head were rounded.
    """

    model: str
    bits_per_weight: float
    perplexity: float
    standard_error: float | None
    description: str
    perplexity_a8: float | None = None
    dtype: Dtype = "float32"
    notes: tuple[str, ...] = ()
    input_density: float | None = None
    low_share: float | None = None
    head_bits: int = 16


class OpenedModel(NamedTuple):
    """A model in memory, the names of its linear layers, their stored bits per weight, and notes on how it was read."""

    model: Any
    layers: tuple[str, ...]
    bits_per_weight: float
    notes: tuple[str, ...]


def open_model(
    folder: Path,
    dtype: Dtype = "float32",
    device: str = "cpu",
    head_bits: int = 16,
    activations: WholeActivations = "float",
) -> OpenedModel:
    """Return the model in a folder.

    The model computes in `dtype`, whatever type its files have, so that a model and its packed form are treated alike.
    With `head_bits` = 8 the weights of its head are rounded (`lm.packed.token_head`). With `activations` = `int8` a
    packed model rounds the inputs of its layers and multiplies integers.

    Raises:
        InputError: A plain model would have to multiply integers, or a head of 8 bits is no linear layer.
    """
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    if is_packed(folder):
        config = open_packed(folder).config
        notes = (*_adapter_notes(folder), *_head_notes(head_bits))
        with quiet_transformers():
            packed = load(folder, dtype=kind, head_bits=head_bits, activations=activations).to(device)
        return OpenedModel(packed, config.layers, config.bits_per_weight, notes)
    if activations != "float":
        raise InputError(f"activations must be float for a plain model such as {folder}, not {activations}")
    checkpoint = open_checkpoint(folder)
    width = stored_bits_per_weight(checkpoint)
    names = tuple(layer.name for layer in checkpoint.layers)
    loaded = load_model(folder, kind).to(device)
    round_head(loaded, head_bits)
    return OpenedModel(loaded, names, width, (*checkpoint.notes, *_head_notes(head_bits)))


def _head_notes(head_bits: int) -> tuple[str, ...]:
    return () if head_bits == 16 else (f"the weights of the head are rounded to {head_bits} bits",)


def _adapter_notes(folder: Path) -> tuple[str, ...]:
    """Return a sentence if an adapter lies beside a packed model, which transformers then runs with it.

    Raises:
        MissingExtraError: peft is not installed, without which transformers would pass over the adapter.
    """
    if not has_adapter(folder):
        return ()
    if find_spec("peft") is None:
        raise MissingExtraError(f"the adapter beside the packed model {folder} needs peft: pip install peft")
    return ("the adapter beside the packed model runs with it, in full precision",)


def stored_bits_per_weight(checkpoint: Checkpoint) -> float:
    """Return the stored bits per weight of the linear layers of a plain model."""
    stored = {layer.tensor: checkpoint.tensors[layer.tensor] for layer in checkpoint.layers}.values()
    return 8 * sum(t.size_bytes for t in stored) / sum(t.count for t in stored)


def evaluate_model(
    model: str,
    text: str,
    tokens: int,
    rounded_bits: int | TokenBits | None,
    progress: Progress = silent,
    dtype: Dtype = "float32",
    device: str = "cpu",
    sparse: InputSparsity | None = None,
    dense_share: float = 0.0,
    head_bits: int = 16,
) -> Evaluation:
    """Return the perplexity of a model on a text.

    Args:
        model: A model folder, or `demo`.
        text: A text file, or `demo`.
        tokens: Number of tokens that are used; 0 takes the whole text.
        rounded_bits: Bits to which the inputs of linear layers are rounded, with one scale per token, the same for all
            tokens or not; None leaves them.
        progress: Called with the name of a task, windows done and windows in all.
        dtype: The floating-point type in which the model computes.
        device: Where it computes: `cpu`, or a GPU (`lm.devices.find_device`).
        sparse: Which inputs of linear layers are left out; None leaves out none.
        dense_share: With sparse inputs, the share of every window, at its beginning, that is dense and not scored.
        head_bits: 8 rounds the weights of the head, 16 leaves them.

    Raises:
        CheckpointError: The model folder is missing or malformed.
        RecipeError: The text is missing.
        InputError: The model gives NaN or infinity; or `sparse`, `dense_share` or the bits do not fit the model.
    """
    folder = model_folder(model)
    read_config(folder)  # a folder without a model is reported before its tokenizer is
    _check_masks(folder, sparse, dense_share)
    mixed = rounded_bits if isinstance(rounded_bits, TokenBits) else None
    if mixed is not None:
        check_mixed(folder, mixed)
    found = read_text(folder, text, "evaluation")
    loaded, layers, bits, notes = open_model(folder, dtype, device, head_bits)
    window = default_window(loaded)
    limit = max(1, tokens // window) if tokens else None
    name = "demo" if model == "demo" else origin(folder) or folder.name

    def tell(done: int, total: int) -> None:
        bits = "mixed" if mixed else rounded_bits
        progress(f"evaluate {name}{f' W+A{bits}' if bits else ''}", done, total)

    masks, said = _masks(loaded, layers, folder, sparse, dense_share, progress)
    tokens_in_low_bits = None
    with ExitStack() as stack:
        # A layer first leaves inputs out, and then rounds the others.
        counts = None if masks is None else stack.enter_context(sparse_inputs(loaded, masks.masks, dense_share))
        if mixed is not None:
            rounding, how = mixed_of_model(loaded, layers, folder, mixed, progress)
            tokens_in_low_bits, said = stack.enter_context(rounding), f"{said}, {how}" if said else how
        elif isinstance(rounded_bits, int):
            stack.enter_context(activations_per_token(loaded, layers, rounded_bits))
        share = 0.0 if masks is None else dense_share
        score = perplexity(loaded, found.tokens, max_windows=limit, progress=tell, context_share=share)
    made = _evaluation(name, found.name, bits, score, device, dtype, notes, f", {said}" if said else "")
    made = msgspec.structs.replace(made, head_bits=head_bits)
    if tokens_in_low_bits is not None:
        made = msgspec.structs.replace(made, low_share=tokens_in_low_bits.mean(layers))
    if masks is None or counts is None:
        return made
    return msgspec.structs.replace(made, input_density=mac_density(counts, masks.macs))


def _check_masks(folder: Path, sparse: InputSparsity | None, dense_share: float) -> None:
    """Check before a model is loaded that its masks and those that are asked for go together.

    Raises:
        InputError: Masks are asked for and the model has its own, or no mask uses the share of dense tokens.
    """
    tensors = open_packed(folder).tensors if is_packed(folder) else {}
    own = any(name.rpartition(".")[2] in MASK_TENSORS for name in tensors)
    if own and sparse is not None:
        raise InputError(f"input_sparsity must be 0 for {folder.name}, whose layers hold thresholds of their own")
    if dense_share and sparse is None and not own:
        raise InputError("dense_share must come with input_sparsity, or with a packed model that holds thresholds")


def _masks(
    model: Any,
    layers: Sequence[str],
    folder: Path,
    sparse: InputSparsity | None,
    dense_share: float,
    progress: Progress,
) -> tuple[InputMasks | None, str]:
    """Return the masks of a model's inputs, its own or those that are asked for, and a sentence on them."""
    stored = stored_masks(model, layers)
    if stored is None and sparse is None:
        return None, ""
    if dense_share == 1:
        return None, "all inputs of all tokens multiplied"
    if stored is not None:
        said = (
            f"inputs that held {stored.sparsity:.1%} of the multiply-accumulates are left out by the model's thresholds"
        )
        return stored, said
    return (None, "") if sparse is None else masks_of_model(model, layers, folder, sparse, progress)


def _evaluation(
    name: str,
    text: str,
    bits: float,
    score: Perplexity,
    device: str,
    dtype: Dtype,
    notes: tuple[str, ...],
    how: str = "",
) -> Evaluation:
    error = None if math.isnan(score.standard_error) else score.standard_error
    where = "" if device == "cpu" else f" on {describe_device(device)}"
    said = f"{text}: {score.describe()}{where}{how}"
    return Evaluation(name, bits, score.value, error, said, dtype=dtype, notes=notes)


def evaluate_by_block(
    model: str, text: str, tokens: int, rounded_bits: int | None, progress: Progress = silent, device: str = "cpu"
) -> Evaluation:
    """Return what `evaluate_model` returns for a plain model in float32, with one decoder block in memory at a time.

    The hidden states of all windows are in a temporary file. The arguments are those of `evaluate_model`.

    Raises:
        CheckpointError: The model folder is missing, malformed, or cannot be run block by block.
        RecipeError: The text is missing.
        InputError: The model is packed, or gives NaN or infinity; or the text has less than a window.
    """
    folder = model_folder(model)
    if is_packed(folder):
        raise InputError("a model that is evaluated block by block must be plain, not packed: a packed one is small")
    checkpoint = open_checkpoint(folder)
    check_complete(checkpoint)
    found, window = read_text(folder, text, "evaluation"), model_window(folder)
    what = "the text of an evaluation block by block"
    windows = whole_windows(found.tokens, window, tokens, what, found.name)
    name = "demo" if model == "demo" else origin(folder) or folder.name

    def tell(done: int, total: int) -> None:
        progress(f"evaluate {name}, block by block", done, total)

    with TemporaryDirectory(prefix="haloquant-") as scratch:
        score = perplexity_by_block(checkpoint, windows, rounded_bits, Path(scratch), tell, device)
    score = replace(score, tokens=len(found.tokens), sampled=len(windows) < len(found.tokens) // window)
    bits, how = stored_bits_per_weight(checkpoint), ", one block in memory at a time"
    return _evaluation(name, found.name, bits, score, device, "float32", checkpoint.notes, how)


def evaluate_tasks(
    model: str,
    folder: Path | None,
    tasks: Sequence[str],
    text: str = "demo",
    limit: int = 0,
    device: str = "cpu",
    rounded_bits: int | None = None,
    dtype: Dtype = "float32",
    progress: Progress = silent,
) -> Mapping[str, Mapping[str, float]]:
    """Return the metrics of lm-eval tasks: task to metric to value.

    Args:
        model: A model folder, or `demo`.
        folder: Folder with the task files; None for `TEXT_TASKS`, which are made from a text.
        tasks: Names of the tasks.
        text: A text file, or `demo`, for the tasks without a folder.
        limit: Greatest number of documents, pages or questions of a task; 0 takes all. `text` is one document.
        device: Where the model computes.
        rounded_bits: Bits to which the inputs of linear layers are rounded, with one scale per token; None leaves them.
        dtype: The floating-point type in which the model computes.
        progress: Called with the name of a task, requests done and requests in all.

    Raises:
        MissingExtraError: lm-eval is not installed.
        InputError: There is no such task, or the text is missing or has no pages.
    """
    if folder is None:
        for task in tasks:
            if task not in TEXT_TASKS:
                raise InputError(
                    f"a task without a task folder must be one of {', '.join(TEXT_TASKS)}, not {task!r:.80}"
                )
    document = load_text(text_file(text, "evaluation")) if folder is None else ""
    try:
        from haloquant.lm.evaluation import lm_eval_tasks, text_tasks
    except ImportError as error:
        raise MissingExtraError("tasks need lm-eval: pip install 'haloquant[eval]'") from error
    makers = {"last-word": text_tasks.last_word, "next-passage": text_tasks.next_passage}
    questions = {task: makers[task](document) for task in tasks if folder is None and task in makers}
    path = model_folder(model)
    opened = open_model(path, dtype, device)
    loaded, tokenizer, most = opened.model, load_tokenizer(path), limit or None
    rounding = activations_per_token(loaded, opened.layers, rounded_bits) if rounded_bits else nullcontext()
    with decoded_weights(loaded), rounding:
        if folder is not None:
            tell = partial(progress, f"evaluate {', '.join(tasks)}")
            return lm_eval_tasks.evaluate_tasks(loaded, tokenizer, folder, tasks, most, tell=tell)
        found: dict[str, Mapping[str, float]] = {}
        for task in tasks:
            tell = partial(progress, f"evaluate {task}")
            if task in questions:
                found[task] = lm_eval_tasks.evaluate_questions(loaded, tokenizer, questions[task], most, tell=tell)
                continue
            if task == "wikitext":
                score = lm_eval_tasks.evaluate_wikitext(loaded, tokenizer, document, limit=most, tell=tell)
            else:
                score = lm_eval_tasks.evaluate_text(loaded, tokenizer, [document], tell=tell)
            found[task] = {name: value for name, value in vars(score).items() if name != "task"}
        return found
