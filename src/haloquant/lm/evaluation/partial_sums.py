"""Measure the partial sums that a MAC receives when it computes the linear layers of a real model.

Every linear layer of the decoder blocks gets its real inputs, rounded to 8 bits with one scale per token. Its weights
are rounded to 8 and to 4 bits with one scale per output channel. A column of `ROWS` weights is drawn at random, and
then a row of this column. The partial sum at this row is the sum of the products of the rows above it. It is recorded
for one token and for the next. The draws of a layer are in proportion to its size.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64

from haloquant.circuits.simulation.partial_sums import PartialSums, summarize_partial_sums
from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint, read_weight
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.evaluation.rounded_activations import quantize_per_token
from haloquant.lm.swap_weights import find_module
from haloquant.lm.text import load_text, tokenize
from haloquant.lm.torch_model import load_model

ROWS = 128  # of the array
WEIGHT_BITS = (8, 4)
ACTIVATION_BITS = 8
WINDOW, WINDOWS = 256, 16  # tokens of a window, and the most windows
COLUMNS = 3000  # drawn over all layers
PAIRS = 64  # drawn of each column


@dataclass(frozen=True, eq=False)
class PartialSumMeasurement:
    """The statistics for one width of weights, and the pairs that they summarize: at one token and at the next."""

    sums: PartialSums
    before: Int64[np.ndarray, " n"]
    after: Int64[np.ndarray, " n"]


def measure_partial_sums(
    folder: Path, text: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[PartialSumMeasurement, ...]:
    """Return the partial sums in the layers of a model, for weights of 8 and of 4 bits.

    The model and the inputs of all its layers must fit in memory. The draws are the same in every call.

    Args:
        folder: Folder of a full-precision model.
        text: Text (.txt, .xz) whose first 4096 tokens are the input.
        progress: Called with the number of layers done and of all layers, each counted once for each width of weights.

    Raises:
        CheckpointError: The model is malformed, or its experts are stacked in one tensor.
        InputError: The text is missing, or it is shorter than one window.
    """
    checkpoint = open_checkpoint(folder)
    model = load_model(folder)
    window = min(WINDOW, default_window(model))
    tokens = tokenize(folder, load_text(text))[: window * WINDOWS]
    if tokens.size < window:
        raise InputError(f"{text} must have at least {window} tokens, one window, and has {tokens.size}")
    windows = torch.from_numpy(tokens[: tokens.size // window * window].reshape(-1, window))
    seen = input_codes(model, [layer.name for layer in checkpoint.layers], windows)
    inputs = {name: codes for name, (codes, _) in seen.items()}
    weights = {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}
    size = sum(weight.size for weight in weights.values())
    model_name = f"{folder.parent.name}/{folder.name} (weights {content_hash(checkpoint)[:16]})"
    found: list[PartialSumMeasurement] = []
    for width, bits in enumerate(WEIGHT_BITS):
        generator = np.random.default_rng(0)
        parts: list[np.ndarray] = []
        for done, (name, weight) in enumerate(weights.items()):
            columns = max(1, round(COLUMNS * weight.size / size))
            parts.append(_draw_pairs(weight_codes(weight, bits)[0], inputs[name], columns, generator))
            progress(width * len(weights) + done + 1, len(WEIGHT_BITS) * len(weights))
        before, after = np.concatenate(parts, axis=1)
        source = (
            f"{before.size:,} pairs at one token and the next, in {len(weights)} linear layers of {model_name} over "
            f"{windows.numel():,} tokens of {text.name}; weights {bits} bits per channel, activations 8 per token, "
            f"a row of {ROWS} drawn evenly"
        )
        sums = summarize_partial_sums(before, after, weight_bits=bits, activation_bits=ACTIVATION_BITS, source=source)
        found.append(PartialSumMeasurement(sums, before, after))
    return tuple(found)


def input_codes(
    model: Any, layers: list[str], windows: torch.Tensor
) -> dict[str, tuple[Int16[np.ndarray, "window token in"], Float32[np.ndarray, "window token 1"]]]:
    """Return the 8-bit codes of the inputs of every layer, and the scale of every token."""
    seen: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def hook(name: str) -> Any:
        def see(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            x = args[0].detach().float()
            if x.ndim == 2 and x.shape[0] == windows.numel():  # OPT flattens windows before its feed-forward layers
                x = x.reshape(*windows.shape, -1)
            scale = x.abs().amax(-1, keepdim=True) / 127
            codes = (quantize_per_token(x, ACTIVATION_BITS) / scale.clamp_min(1e-30)).round()
            seen[name] = codes.to(torch.int16).numpy(), scale.numpy()

        return see

    handles = [find_module(model, name).register_forward_pre_hook(hook(name)) for name in layers]
    try:
        with torch.no_grad():
            model(input_ids=windows)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def weight_codes(weight: np.ndarray, bits: int) -> tuple[Int64[np.ndarray, "out in"], Float32[np.ndarray, "out 1"]]:
    """Return weights rounded to nearest, and one scale per output channel."""
    top = (1 << (bits - 1)) - 1
    scale = np.abs(weight).max(axis=1, keepdims=True) / top
    return np.round(weight / np.where(scale > 0, scale, 1.0)).astype(np.int64), scale


def _draw_pairs(
    codes: np.ndarray, inputs: np.ndarray, columns: int, generator: np.random.Generator
) -> Int64[np.ndarray, "2 n"]:
    """Return partial sums at one token and at the next: `PAIRS` of each of the columns that are drawn."""
    found: list[np.ndarray] = []
    tiles = -(-codes.shape[1] // ROWS)
    for channel, tile in zip(
        generator.integers(codes.shape[0], size=columns), generator.integers(tiles, size=columns), strict=True
    ):
        part = slice(tile * ROWS, min((tile + 1) * ROWS, codes.shape[1]))
        window = inputs[generator.integers(inputs.shape[0]), :, part].astype(np.int64)
        products = window * codes[channel, part]
        above = np.cumsum(products, axis=1) - products  # the sum of the rows above
        token = generator.integers(window.shape[0] - 1, size=PAIRS)
        row = generator.integers(above.shape[1], size=PAIRS)
        found.append(np.stack([above[token, row], above[token + 1, row]]))
    return np.concatenate(found, axis=1)
