"""Calibration: what the quantizer knows of every linear layer, from text run through the model once.

The diagonal Fisher is F = (1/|D|) sum over samples d of (dL_d / dW)^2, L_d the mean next-token loss of sample d, a
window of text (real gradients through the whole model, float32). The layer Hessian is (2/T) sum over tokens of x x^T,
that of the squared error of the layer's output. One model is in memory, and of gradients only those of activations.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64

from haloquant.errors import InputError
from haloquant.lm.calibration.hessian import Recorder, to_statistics, watch
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.records import LayerStatistics

BATCH_TOKENS = 2048
Fisher = Literal["sample", "token", "none"]


def cut_windows(
    tokens: Int64[np.ndarray, " t"], window: int, samples: int, bos: int | None = None
) -> Int64[np.ndarray, "s window"]:
    """At most `samples` windows spread evenly over a text, without overlap; each begins with `bos` where given.

    Raises:
        InputError: the text is shorter than one window, or a number is not positive.
    """
    if window < 2 or samples < 1:
        raise InputError(f"calibration needs windows of at least 2 tokens and 1 sample, not {window} and {samples}")
    length = window if bos is None else window - 1
    count = len(tokens) // length
    if count == 0:
        raise InputError(
            f"the calibration text must have at least {length} tokens, one window, but has {len(tokens)}; "
            "give a longer text or a shorter window"
        )
    chosen = np.linspace(0, count - 1, min(samples, count)).round().astype(int)
    pieces = np.stack([tokens[i * length : (i + 1) * length] for i in chosen])
    return pieces if bos is None else np.insert(pieces, 0, bos, axis=1)


def collect(
    model: Any,
    tokens: Int64[np.ndarray, " t"],
    layers: Sequence[str],
    window: int | None = None,
    samples: int = 128,
    bos: int | None = None,
    fisher: Fisher = "sample",
    hessian: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, LayerStatistics]:
    """Statistics of the named layers from one pass over calibration windows.

    Args:
        model: a causal language model of transformers in float32.
        tokens: the calibration text.
        layers: names of linear layers, as in the checkpoint.
        window: tokens per sample; the model's length, 2048 at most, where None.
        samples: windows, spread evenly over the text.
        bos: a token to begin each window with.
        fisher: "sample" squares the gradient of each window's mean loss; "token" squares the contribution of every
            position by itself (the same in expectation where positions are independent, and less noisy with few
            samples); "none" takes no gradient.
        hessian: whether to sum x x^T.
        progress: called with samples done and samples in all.

    Raises:
        InputError: the text is too short.
        CheckpointError: the model has no such layer.
    """
    windows = cut_windows(tokens, default_window(model) if window is None else window, samples, bos)
    recorder = Recorder(tuple(layers), with_gram=hessian)
    routed = any("experts" in layer for layer in layers)  # an expert sees tokens of all samples in one heap
    at_once = 1 if routed else max(1, BATCH_TOKENS // windows.shape[1])
    device = next(model.parameters()).device
    with watch(model, recorder, None if fisher == "none" else fisher):
        for first in range(0, len(windows), at_once):
            batch = torch.from_numpy(windows[first : first + at_once]).to(device)
            recorder.batch = len(batch)
            if fisher == "none":
                with torch.inference_mode():
                    model(input_ids=batch, use_cache=False, logits_to_keep=1)
            else:
                _differentiate(model, batch)
            recorder.forget_last()
            if progress is not None:
                progress(min(first + at_once, len(windows)), len(windows))
    return to_statistics(recorder, describe(fisher, hessian, windows), len(windows))


def describe(fisher: Fisher, hessian: bool, windows: Int64[np.ndarray, "s window"]) -> str:
    """The `source` of the statistics: how each part was made."""
    parts = ["hessian: x x^T of the full-precision model"] if hessian else []
    if fisher != "none":
        parts.insert(0, f"fisher: gradients of the mean loss through the whole model, squared by {fisher}")
    count, length = windows.shape
    return "; ".join([*parts, f"{count} windows of {length} tokens"])


def _differentiate(model: Any, batch: torch.Tensor) -> None:
    """Backpropagate the sum over samples of their mean loss, so that each sample's gradient is that of its own loss."""
    embedded = model.get_input_embeddings()(batch).detach().requires_grad_(True)
    logits = model(inputs_embeds=embedded, use_cache=False).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")
    (loss / (batch.shape[1] - 1)).backward(inputs=[embedded])
