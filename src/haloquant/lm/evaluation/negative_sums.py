"""Digits that a bit-serial element takes until a sum before a ReLU is surely negative (USEFUSE, arXiv 2412.13724).

The element takes the digits of all activations of a sum from the most significant on, the weights in parallel. After k
of 8 digits of two's complement, what is left of an activation is 0 to 2^(8-k) - 1. So the sum is at most what it is now
plus (2^(8-k) - 1) times the sum of the positive weights. Once this is negative, the ReLU will give 0, and the element
stops. A sum that is not negative takes all 8 digits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from haloquant.errors import InputError
from haloquant.lm.checkpoint.model_config import read_config, text_part
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer, open_checkpoint, read_weight
from haloquant.lm.evaluation.partial_sums import input_codes, weight_codes
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.swap_weights import find_module
from haloquant.lm.text import load_text, tokenize
from haloquant.lm.torch_model import load_model
from haloquant.records.layer_names import FEED_FORWARD_GATES, FEED_FORWARD_INPUTS

DIGITS = 8
TOKENS = 256  # tokens of one window
OUTPUTS = 512  # outputs of a layer that are drawn, at most
_KEYS = ("activation_function", "hidden_act", "hidden_activation", "hidden_function")  # of config.json


@dataclass(frozen=True)
class EarlyNegative:
    """What was counted.

    Attributes:
        layers: layers before a ReLU.
        sums: sums that were counted in them.
        negative_share: share of these sums that are negative.
        digits: mean digits of these sums.
        model_digits: mean digits of all multiply-accumulates of the model's linear layers; those of other layers take
            all digits.
    """

    layers: int
    sums: int
    negative_share: float
    digits: float
    model_digits: float


def measure_early_negative(
    folder: Path, text: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> EarlyNegative:
    """Count digits in the layers of a model before its ReLUs, with weights and activations of 8 bits.

    Args:
        folder: Folder of a full-precision model that fits in memory.
        text: Text (.txt, .xz) whose first window, 256 tokens at most, is the input.
        progress: Called with the number of layers done and of all layers before a ReLU.

    Raises:
        CheckpointError: The model is malformed.
        InputError: The model has no ReLU, or the text is shorter than the window.
    """
    checkpoint = open_checkpoint(folder)
    layers = layers_before_relu(checkpoint)
    model = load_model(folder)
    window = min(TOKENS, default_window(model))
    tokens = tokenize(folder, load_text(text))[:window]
    if tokens.size < window:
        raise InputError(f"{text} must have at least {window} tokens, one window, and has {tokens.size}")
    given = input_codes(model, [layer.name for layer in layers], torch.from_numpy(tokens[None]))
    sums = negative = digits = 0
    means: dict[str, float] = {}
    for done, layer in enumerate(layers):
        codes, steps = (part[0] for part in given[layer.name])
        weight = read_weight(checkpoint, layer)
        drawn = np.random.default_rng(0).permutation(weight.shape[0])[:OUTPUTS]
        rounded, step = weight_codes(weight[drawn], DIGITS)
        bias = _bias(model, layer)[drawn] / np.where(step[:, 0] > 0, step[:, 0], 1.0)
        taken, below = digits_until_negative(
            codes.astype(np.int64), rounded, bias[None] / np.where(steps > 0, steps, 1.0)
        )
        sums, negative, digits = sums + taken.size, negative + int(below.sum()), digits + int(taken.sum())
        means[layer.name] = float(taken.mean())
        progress(done + 1, len(layers))
    sizes = {layer.name: layer.out_features * layer.in_features for layer in checkpoint.layers}
    whole = sum(size * means.get(name, float(DIGITS)) for name, size in sizes.items()) / sum(sizes.values())
    return EarlyNegative(len(layers), sums, negative / sums, digits / sums, whole)


def layers_before_relu(checkpoint: Checkpoint) -> list[LinearLayer]:
    """Return the layers of a model whose outputs pass a ReLU.

    Raises:
        InputError: The model has no ReLU, or its layers have names that are not known.
    """
    config = text_part(read_config(checkpoint.folder))
    default = "relu" if config.get("model_type") == "opt" else None
    function = next((config[key] for key in _KEYS if key in config), default)
    if function != "relu":
        raise InputError(
            f"a sum stops early only before a ReLU, and this model has {function or 'another function'}; choose a "
            "model such as OPT"
        )
    last = {layer.name: layer.name.rpartition(".")[2] for layer in checkpoint.layers}
    names = FEED_FORWARD_GATES if any(name in FEED_FORWARD_GATES for name in last.values()) else FEED_FORWARD_INPUTS
    found = [layer for layer in checkpoint.layers if last[layer.name] in names]
    if not found:
        known = ", ".join((*FEED_FORWARD_GATES, *FEED_FORWARD_INPUTS))
        raise InputError(f"the layers before a ReLU must be named {known}, and none is")
    return found


def digits_until_negative(
    codes: Int64[np.ndarray, "tokens in"],
    weights: Int64[np.ndarray, "out in"],
    bias: Float64[np.ndarray, "tokens out"],
) -> tuple[Int64[np.ndarray, "tokens out"], np.ndarray]:
    """Return the digits that each sum takes, and whether it is negative.

    Args:
        codes: 8-bit activations.
        weights: 8-bit weights.
        bias: What is added to each sum, in units of its integers.
    """
    factors = weights.astype(np.float64).T  # sums of products below 2^53 are exact
    positive = np.maximum(weights, 0).sum(axis=1)
    taken = np.full((codes.shape[0], weights.shape[0]), DIGITS, np.int64)
    for digits in range(DIGITS - 1, 0, -1):
        left = DIGITS - digits
        known = ((codes.astype(np.int64) >> left) << left).astype(np.float64) @ factors
        taken[known + ((1 << left) - 1) * positive + bias < 0] = digits
    return taken, codes.astype(np.float64) @ factors + bias < 0


def _bias(model: Any, layer: LinearLayer) -> np.ndarray:
    bias = getattr(find_module(model, layer.name), "bias", None)
    return bias.detach().double().numpy() if isinstance(bias, torch.Tensor) else np.zeros(layer.out_features)
