"""Calibration with the whole model in memory: statistics of every linear layer from one pass over a text.

The diagonal of the Fisher information is F = (1/|D|) sum over samples d of (dL_d / dW)^2. A sample is a window of text,
and L_d is its mean next-token loss. Gradients are exact, through the whole model, in float32. The Hessian of a layer is
(2/T) sum over tokens of x x^T, the Hessian of the squared error of the layer's output. That of value rows is weighted
by attention (`value_hessian`). Memory holds the model and the gradients of activations, not those of weights.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64

from haloquant.errors import InputError
from haloquant.lm.calibration.expert_stand_ins import with_stand_ins
from haloquant.lm.calibration.hessian import Recorder, record, to_statistics
from haloquant.lm.calibration.value_hessian import ValueRecorder
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.swap_weights import weight_parameter
from haloquant.records import LayerStatistics, ValueHessian

BATCH_TOKENS = 2048
Fisher = Literal["sample", "token", "none"]


def cut_windows(
    tokens: Int64[np.ndarray, " t"], window: int, samples: int, bos: int | None = None
) -> Int64[np.ndarray, "s window"]:
    """Cut at most `samples` windows from a text, spread evenly and without overlap.

    Args:
        tokens: the text.
        window: tokens in a window.
        samples: greatest number of windows.
        bos: token that begins each window; None adds no token.

    Returns:
        Token ids [samples, window].

    Raises:
        InputError: The text is shorter than one window, or a number is not positive.
    """
    if window < 2 or samples < 1:
        raise InputError(f"calibration needs windows of at least 2 tokens and 1 sample, not {window} and {samples}")
    length = window if bos is None else window - 1
    count = len(tokens) // length
    if count == 0:
        raise InputError(
            f"the calibration text must have at least {length} tokens, one window, but has {len(tokens)}; "
            "give a longer text"
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
    value_hessian: ValueHessian = "attention",
) -> dict[str, LayerStatistics]:
    """Return the statistics of the named layers from one pass over calibration windows.

    Args:
        model: a causal language model of transformers in float32.
        tokens: the calibration text.
        layers: names of linear layers, as in the checkpoint.
        window: tokens per sample; where None, the model's context length, at most 2048.
        samples: number of windows, spread evenly over the text.
        bos: token that begins each window; None adds no token.
        fisher: "sample" squares the gradient of each window's mean loss. "token" squares the contribution of every
            position by itself; this has the same expectation if positions are independent, and less noise with few
            samples. "none" computes no gradient.
        hessian: whether to sum x x^T.
        progress: called with the number of samples done and of all samples.
        value_hessian: "attention" weights the Hessian of value rows by attention; "inputs" sums x x^T for them too.

    Raises:
        InputError: The text is too short.
        CheckpointError: The model has no such layer.
    """
    windows = cut_windows(tokens, default_window(model) if window is None else window, samples, bos)
    weighted = hessian and value_hessian == "attention"
    recorder = Recorder(tuple(layers), with_gram=hessian, values=ValueRecorder() if weighted else None)
    # The input of an expert mixes the tokens of all samples of a batch, so a batch is one sample there.
    routed = any(expert_family(layer) is not None for layer in layers)
    at_once = 1 if routed else max(1, BATCH_TOKENS // windows.shape[1])
    device = next(model.parameters()).device
    with record(model, recorder, None if fisher == "none" else fisher):
        for first in range(0, len(windows), at_once):
            batch = torch.from_numpy(windows[first : first + at_once]).to(device)
            recorder.batch = len(batch)
            if fisher == "none":
                # One position as a tensor: for a number, some models leave out the other tokens in their last blocks.
                kept = torch.zeros(1, dtype=torch.int64, device=device)
                with torch.no_grad():  # in inference mode a recorder could not see that a tensor changed
                    model(input_ids=batch, use_cache=False, logits_to_keep=kept)
            else:
                _differentiate(model, batch)
            recorder.forget_last()
            if progress is not None:
                progress(min(first + at_once, len(windows)), len(windows))
    measured = to_statistics(recorder, describe(fisher, hessian, windows), len(windows))
    return with_stand_ins(measured, {name: _width(model, name) for name in layers if routed})


def _width(model: Any, layer: str) -> int:
    """Return the number of inputs of a linear layer."""
    weight, transposed = weight_parameter(model, layer)
    return weight.shape[0 if transposed else 1]


def describe(fisher: Fisher, hessian: bool, windows: Int64[np.ndarray, "s window"]) -> str:
    """Return the field `source` of the statistics: how each part was made."""
    parts = ["hessian: x x^T of the full-precision model"] if hessian else []
    if fisher != "none":
        parts.insert(0, f"fisher: gradients of the mean loss through the whole model, squared by {fisher}")
    count, length = windows.shape
    return "; ".join([*parts, f"{count} windows of {length} tokens"])


def _differentiate(model: Any, batch: torch.Tensor) -> None:
    """Backpropagate the sum of the samples' mean losses, so that the gradient of a sample is that of its own loss."""
    embedded = model.get_input_embeddings()(batch).detach().requires_grad_(True)
    logits = model(inputs_embeds=embedded, use_cache=False).logits[:, :-1].float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")
    (loss / (batch.shape[1] - 1)).backward(inputs=[embedded])
