"""Evaluate model folders, plain or packed: perplexity of a text, or lm-eval tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from haloquant.api.arguments import check_bits, check_choice, check_count, check_range, path_text, path_texts, texts
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs import evaluation
from haloquant.jobs.evaluation import Dtype, Evaluation
from haloquant.jobs.input_sparsity import InputSparsity
from haloquant.jobs.inputs import model_folder
from haloquant.jobs.mixed_activations import TokenBits
from haloquant.lm.devices import find_device
from haloquant.lm.packed.token_head import check_head_bits
from haloquant.quant.input_sparsity.levels import InputAllocation
from haloquant.quant.input_sparsity.scores import MOST_SPARSITY
from haloquant.records.mixed_activations import LowTokens

Activations = Literal["none", "token"]
ActivationsByToken = Literal["none", "token", "mixed"]


def evaluate(
    model: str | Path,
    text: str | Path = "demo",
    *,
    tokens: int = 0,
    activations: ActivationsByToken = "none",
    activation_bits: int = 8,
    low_share: float | None = None,
    low_bits: int = 4,
    low_tokens: LowTokens = "lowest",
    dtype: Dtype = "float32",
    by_block: bool = False,
    device: str = "auto",
    input_sparsity: float = 0.0,
    input_allocation: InputAllocation = "uniform",
    calibration: str | Path = "demo",
    dense_share: float = 0.0,
    head_bits: int = 16,
    progress: Progress = True,
) -> Evaluation:
    """Measure the perplexity of a model on a text by the standard protocol.

    The text is cut into windows of the model's context (2048 tokens at most) that do not overlap. The perplexity is
    the exponential of the mean negative log-likelihood per token.

    Args:
        model: Model folder, plain or packed, or "demo" for the shipped model.
        text: Text file (.txt, .xz), or "demo" for the shipped evaluation text.
        tokens: Number of tokens to use, rounded down to whole windows (one at least); 0 uses the whole text.
        activations: "token" rounds the inputs of the linear layers, with one scale per token; "mixed" does so too,
            with fewer bits for a share of the tokens (EdgeQAT, arXiv 2402.10787); "none" keeps them.
        activation_bits: Bits of a rounded input, 2 to 16.
        low_share: With "mixed", the share of the tokens in `low_bits`, 0 to 1. It must be left out for a packed model
            that holds thresholds of its own, with its own bits.
        low_bits: With "mixed", the bits of these tokens, fewer than `activation_bits`.
        low_tokens: With "mixed", which tokens these are: those whose products with the key of the first token are
            "lowest", or as controls those with the "highest" ones, or "random" ones.
        dtype: Floating-point type in which the model computes: "float32", "bfloat16" or "float16". A packed model's
            words and scales are the same in each.
        by_block: Keep one decoder block in memory at a time, for a plain model that does not fit; it computes in
            float32, and gives the same perplexity.
        device: Where the model computes: "cpu", "cuda" or "cuda:NUMBER"; "auto" takes a GPU of this machine where there
            is one.
        input_sparsity: Share of the multiply-accumulates of the linear layers that a token does without, 0 to 0.95:
            those of the inputs with the lowest scores |x| * (norm of the weight's column) (R-Sparse, arXiv 2504.19449).
        input_allocation: "uniform" leaves out the same share in each layer; "divergence" divides it so that the
            predictions change least, which takes eight passes over 512 tokens for each layer.
        calibration: Text (.txt, .xz) that gives the thresholds, or "demo" for the shipped one: 512 tokens for inputs
            that are left out, 8,192 for tokens in low bits.
        dense_share: Share of each window, at its beginning, whose tokens keep all inputs and are not scored, as a
            prompt before generated tokens. R-Sparse's authors take 0.5. With 1 all tokens are dense and scored. It
            needs `input_sparsity`, or a packed model that holds thresholds of its own.
        head_bits: 8 rounds the weights of the head to 8 bits, as `load(head_bits=8)` does; 16 leaves them.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The perplexity with its standard error, which is None for a text of one window, and the model's stored bits per
        weight.

    Raises:
        InputError: An argument is not allowed, a file does not exist, or a model gives NaN or infinity.
        MissingExtraError: torch or transformers is not installed.

    Example:
        ```python
        import haloquant

        score = haloquant.evaluate("model-halo", "my-text.txt")
        error = "" if score.standard_error is None else f" +- {score.standard_error:.3f}"
        print(f"perplexity {score.perplexity:.3f}{error}")
        ```
    """
    shown = reporting(progress)
    name, file = path_text("model", model), path_text("text", text)
    check_count("tokens", tokens, 0)
    thresholds_of = path_text("calibration", calibration)
    bits = _asked_bits(activations, activation_bits, low_share, low_bits, low_tokens, thresholds_of)
    mixed = isinstance(bits, TokenBits)
    check_choice("dtype", dtype, get_args(Dtype))
    if by_block and dtype != "float32":
        raise InputError(f"dtype must be float32 for an evaluation block by block, not {dtype}")
    if mixed and (by_block or input_sparsity):
        other = "by_block must be False" if by_block else "input_sparsity must be 0"
        raise InputError(f"{other} where activations are mixed, whose thresholds need the whole model with all inputs")
    own_text = "demo" if mixed and low_share is not None else thresholds_of
    sparse = _sparse(input_sparsity, input_allocation, own_text, dense_share)
    if by_block and sparse is not None:
        raise InputError("input_sparsity must be 0 for an evaluation block by block: thresholds need the whole model")
    if by_block and dense_share:
        raise InputError("dense_share must be 0 for an evaluation block by block, which scores every token")
    check_head_bits(head_bits)
    if by_block and head_bits != 16:
        raise InputError("head_bits must be 16 for an evaluation block by block")
    place = find_device(device)
    with shown as report:
        if by_block and not isinstance(bits, TokenBits):
            return evaluation.evaluate_by_block(name, file, tokens, bits, report, place)
        return evaluation.evaluate_model(name, file, tokens, bits, report, dtype, place, sparse, dense_share, head_bits)


def _asked_bits(
    activations: ActivationsByToken,
    bits: int,
    low_share: float | None,
    low_bits: int,
    low_tokens: LowTokens,
    calibration: str,
) -> int | TokenBits | None:
    """Return the bits of a rounded input, the same for all tokens or not, after a check; None where none is rounded.

    Raises:
        InputError: A value is not allowed, or it would change nothing.
    """
    check_choice("activations", activations, get_args(ActivationsByToken))
    check_choice("low_tokens", low_tokens, get_args(LowTokens))
    if activations != "mixed":
        given = {"low_share": low_share is not None, "low_bits": low_bits != 4, "low_tokens": low_tokens != "lowest"}
        for key in (key for key, value in given.items() if value):
            raise InputError(f'{key} must come with activations="mixed", which has tokens in low bits')
        return _rounded_bits(activations, bits)
    bits, low_bits = check_bits(bits), check_bits(low_bits, "low_bits")
    if low_share is None:
        if (bits, low_bits, low_tokens) != (8, 4, "lowest"):
            raise InputError("bits and low_tokens must come with low_share, unless a packed model stores all of them")
        return TokenBits()
    check_range("low_share", low_share, 0.0, 1.0)
    if low_bits >= bits:
        raise InputError(f"low_bits must be below activation_bits, {bits}, not {low_bits}")
    return TokenBits(bits, low_bits, float(low_share), low_tokens, calibration)


def _sparse(sparsity: float, allocation: InputAllocation, calibration: str, share: float) -> InputSparsity | None:
    """Return which inputs are left out, after a check; None for none.

    Raises:
        InputError: A value is not allowed, or it would change nothing.
    """
    check_range("input_sparsity", sparsity, 0.0, MOST_SPARSITY)
    check_choice("input_allocation", allocation, get_args(InputAllocation))
    check_range("dense_share", share, 0.0, 1.0)
    if not sparsity:
        given = {"input_allocation": allocation != "uniform", "calibration": calibration != "demo"}
        for key in (key for key, value in given.items() if value):
            raise InputError(f"{key} must come with input_sparsity, the share of the work that is left out")
        return None
    return InputSparsity(float(sparsity), allocation, calibration)


def evaluate_tasks(
    model: str | Path,
    folder: str | Path | None = None,
    *,
    tasks: str | Sequence[str],
    text: str | Path = "demo",
    limit: int = 0,
    activations: Activations = "none",
    activation_bits: int = 8,
    dtype: Dtype = "float32",
    device: str = "auto",
    progress: Progress = True,
) -> Mapping[str, Mapping[str, float]]:
    """Run lm-eval tasks from local task files, or tasks that are made from a text file.

    The perplexities of lm-eval are per word and per byte, so models with different tokenizers can be compared.

    Args:
        model: Model folder, plain or packed, or "demo" for the shipped model.
        folder: Folder with lm-eval task files (YAML). Task files can run code, so use only those that you trust. None
            scores `text`.
        tasks: Names of the tasks. Without a folder: "text" scores the text as one document; "wikitext" scores a split
            of WikiText page by page, as the task of that name in lm-eval does; "last-word" asks for the last word of
            passages, and "next-passage" which of four passages follows.
        text: Text file (.txt, .xz), or "demo" for the shipped evaluation text; only used without a folder.
        limit: Greatest number of documents, pages or questions of a task, evenly spread; 0 takes all. "text" is one
            document. Of a task of a folder the first ones are taken, as in lm-eval.
        activations: As in `evaluate`.
        activation_bits: As in `evaluate`.
        dtype: As in `evaluate`.
        device: As in `evaluate`.
        progress: As in `evaluate`.

    Returns:
        The metrics of every task: `{task: {metric: value}}`.

    Raises:
        InputError: An argument is not allowed, or there is no such model, folder, task or text.
        MissingExtraError: lm-eval is not installed.

    Example:
        ```python
        import haloquant

        print(haloquant.evaluate_tasks("model-halo", "my-tasks", tasks=["my_task"]))
        ```
    """
    path = None if folder is None else Path(path_text("folder", folder))
    name, file = path_text("model", model), path_text("text", text)
    shown, names = reporting(progress), texts("tasks", tasks)
    check_count("limit", limit, 0)
    if path is not None and file != "demo":
        raise InputError(f"text must come without a folder, whose tasks name their data themselves, not {file}")
    if path is None and limit and set(names) == {"text"}:
        raise InputError("limit must come with a task of several documents, and text is one document")
    bits = _rounded_bits(activations, activation_bits)
    check_choice("dtype", dtype, get_args(Dtype))
    place = find_device(device)
    with shown as report:
        return evaluation.evaluate_tasks(name, path, names, file, limit, place, bits, dtype, report)


def _rounded_bits(activations: Activations, activation_bits: int) -> int | None:
    """Return the bits of a rounded input, after a check; None where inputs are not rounded.

    Raises:
        InputError: A value is not allowed, or the bits would change nothing.
    """
    check_choice("activations", activations, get_args(Activations))
    bits = check_bits(activation_bits) if activations == "token" else None
    if bits is None and activation_bits != 8:
        raise InputError('activation_bits must come with activations="token", which rounds them')
    return bits


def compare(
    models: Sequence[str | Path],
    text: str | Path = "demo",
    *,
    tokens: int = 0,
    dtype: Dtype = "float32",
    activation_bits: int = 8,
    device: str = "auto",
    progress: Progress = True,
) -> tuple[Evaluation, ...]:
    """Evaluate several models on one text, each with plain and with rounded activations.

    Args:
        models: Two or more model folders, plain or packed, or "demo" for the shipped model.
        text: Text file (.txt, .xz), or "demo" for the shipped evaluation text.
        tokens: Number of tokens to use, rounded down to whole windows (one at least); 0 uses the whole text.
        dtype: Floating-point type in which the models compute: "float32", "bfloat16" or "float16". A packed model's
            words and scales are the same in each.
        activation_bits: Bits of a rounded activation, 2 to 16.
        device: As in `evaluate`.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        One record per model, in the order given; `perplexity_a8` is that with rounded activations, one scale per token.
        A note says if a model was scored on other tokens or windows than the first.

    Raises:
        InputError: An argument is not allowed, a file does not exist, or a model gives NaN or infinity.
        MissingExtraError: torch or transformers is not installed.

    Example:
        ```python
        import haloquant

        for score in haloquant.compare(["path/to/model", "model-halo"]):
            print(f"{score.model}: {score.bits_per_weight:.2f} bits, perplexity {score.perplexity:.3f}")
        ```
    """
    shown = reporting(progress)
    if isinstance(models, str | Path):
        raise InputError(f"models must be a sequence of model folders, not the one path {str(models)!r:.80}")
    names, file = path_texts("models", models), path_text("text", text)
    if len(names) < 2:
        given = ", ".join(names)
        raise InputError(f"models must be two or more to be compared, not {given!r:.80} alone; evaluate takes one")
    check_count("tokens", tokens, 0)
    check_choice("dtype", dtype, get_args(Dtype))
    place, bits = find_device(device), check_bits(activation_bits)
    for name in names:  # a wrong name is reported before the first model is evaluated
        model_folder(name)
    rows: list[Evaluation] = []
    with shown as report:
        for name in names:
            plain = evaluation.evaluate_model(name, file, tokens, None, report, dtype, place)
            rounded = evaluation.evaluate_model(name, file, tokens, bits, report, dtype, place)
            notes = plain.notes + _other_tokens(rows[:1], plain)
            rows.append(msgspec.structs.replace(plain, perplexity_a8=rounded.perplexity, notes=notes))
    return tuple(rows)


def _other_tokens(first: Sequence[Evaluation], row: Evaluation) -> tuple[str, ...]:
    """Return a sentence if a model was scored on other tokens or windows than the first model, if there is one."""
    if not first or row.description == first[0].description:
        return ()
    return (
        f"perplexities of {row.model} and {first[0].model} are not comparable, as their tokens or windows differ; "
        f"{row.model}: {row.description}",
    )
