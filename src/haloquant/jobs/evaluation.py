"""Judge a model folder, plain or packed: perplexity of a text, or lm-eval tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from haloquant.errors import MissingExtraError
from haloquant.jobs.inputs import Progress, is_packed, model_folder, read_text, silent
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.evaluation.perplexity import default_window, perplexity
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import open_packed
from haloquant.lm.text import load_tokenizer
from haloquant.lm.torch_model import in_silence, load_model


class Judged(msgspec.Struct, frozen=True):
    """What a model scored on a text."""

    model: str
    bits_per_weight: float  # of its linear layers, as stored
    perplexity: float
    standard_error: float
    description: str
    perplexity_a8: float | None = None


def open_model(folder: Path) -> tuple[Any, tuple[str, ...], float]:
    """The model, the names of its linear layers, and their stored bits per weight."""
    if is_packed(folder):
        config = open_packed(folder).config
        with in_silence():
            return load(folder), config.layers, config.bits_per_weight
    checkpoint = open_checkpoint(folder)
    bits = {checkpoint.tensors[layer.tensor].dtype for layer in checkpoint.layers}
    width = max({"F32": 32.0, "F16": 16.0, "BF16": 16.0}.get(kind, 16.0) for kind in bits)
    return load_model(folder), tuple(layer.name for layer in checkpoint.layers), width


def judge(model: str, text: str, tokens: int, rounded: bool, progress: Progress = silent) -> Judged:
    """Perplexity of a model folder on a text; `rounded` gives the linear layers 8-bit activations per token."""
    folder = model_folder(model)
    found = read_text(folder, text, "evaluation")
    loaded, layers, bits = open_model(folder)
    window = default_window(loaded)
    limit = max(1, tokens // window) if tokens else None
    name = "demo" if model == "demo" else folder.name

    def tell(done: int, total: int) -> None:
        progress(f"evaluate {name}{' W+A8' if rounded else ''}", done, total)

    if rounded:
        with activations_per_token(loaded, layers):
            score = perplexity(loaded, found.tokens, max_windows=limit, progress=tell)
    else:
        score = perplexity(loaded, found.tokens, max_windows=limit, progress=tell)
    return Judged(name, bits, score.value, score.standard_error, f"{found.name}: {score.describe()}")


def run_tasks(model: str, folder: Path, tasks: Sequence[str]) -> Mapping[str, Mapping[str, float]]:
    """Metrics of lm-eval tasks from a folder of local task files."""
    try:
        from haloquant.lm.evaluation.lm_eval_tasks import evaluate_tasks
    except ImportError as error:
        raise MissingExtraError("tasks need lm-eval: pip install 'haloquant[eval]'") from error
    path = model_folder(model)
    loaded, _, _ = open_model(path)
    return evaluate_tasks(loaded, load_tokenizer(path), folder, tasks)
