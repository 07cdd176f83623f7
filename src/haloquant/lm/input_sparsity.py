"""Find the masks of a model's inputs on a sample of text: thresholds, and how sparsity is divided among the layers.

The sample runs through the dense model once, and every layer's scores give its thresholds. `uniform` takes the same
sparsity in every layer. `divergence` measures each layer at each level alone, as the divergence of the model's
predictions from those of the dense model, and divides the sparsity so that the summed divergence is least
(`quant.input_sparsity.levels`). That takes a pass over the sample for every layer and level.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float64, Int64

from haloquant.errors import InputError
from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
from haloquant.lm.swap_weights import find_module
from haloquant.quant.input_sparsity.levels import InputAllocation, allocate_levels, levels_around
from haloquant.quant.input_sparsity.scores import SAMPLE_TOKENS, InputMask, column_norms, score_thresholds

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class InputMasks:
    """The masks of a model.

    Attributes:
        masks: masks of the layers whose inputs are sparse.
        macs: multiply-accumulates of every linear layer for a token.
        tokens: tokens of the sample; 0 where it is not known.
        unseen: layers that no token of the sample reached; they stay dense.
    """

    masks: Mapping[str, InputMask]
    macs: Mapping[str, int]
    tokens: int = 0
    unseen: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of the multiply-accumulates of all linear layers that the masks left out of the sample."""
        left_out = sum(self.macs[layer] * mask.sparsity for layer, mask in self.masks.items())
        return left_out / sum(self.macs.values())


def sample_windows(tokens: Int64[np.ndarray, " t"], window: int) -> Int64[np.ndarray, "n window"]:
    """Return the first windows of a text, `SAMPLE_TOKENS` tokens in all, or fewer if the text is shorter.

    Raises:
        InputError: The text has less than two tokens.
    """
    length = min(window, SAMPLE_TOKENS, len(tokens))
    if length < 2:
        raise InputError(f"thresholds of inputs must have a text of at least 2 tokens, not {len(tokens)}")
    count = max(1, min(SAMPLE_TOKENS, len(tokens)) // length)
    return tokens[: count * length].reshape(count, length)


def find_input_masks(
    model: Any,
    weights: Mapping[str, np.ndarray],
    windows: Int64[np.ndarray, "n t"],
    sparsity: float,
    allocation: InputAllocation = "uniform",
    progress: Report = lambda done, total: None,
) -> InputMasks:
    """Return masks that leave out a share of the multiply-accumulates of a model's linear layers.

    Args:
        model: a loaded model, which computes with `weights`.
        weights: weights [out, in] by layer; each is read once.
        windows: windows of a calibration text.
        sparsity: share of the multiply-accumulates to leave out, from 0 to `MOST_SPARSITY`.
        allocation: how the share is divided among the layers.
        progress: called with passes over the sample that are done, and with all of them.

    Raises:
        InputError: The sample gives NaN or infinity.
    """
    norms: dict[str, Float16[np.ndarray, " in"]] = {}
    macs: dict[str, int] = {}
    for layer in weights:
        weight = weights[layer]
        norms[layer], macs[layer] = column_norms(weight), weight.size
    if not sparsity:
        return InputMasks({}, macs, windows.size)
    levels = (sparsity,) if allocation == "uniform" else levels_around(sparsity)
    batch = torch.from_numpy(windows).to(next(model.parameters()).device)
    thresholds, dense = _thresholds(model, norms, batch, levels)
    seen = [layer for layer in weights if layer in thresholds]
    chosen = (sparsity,) * len(seen)
    if allocation == "divergence":
        table = _divergences(model, norms, thresholds, seen, levels, batch, dense, progress)
        chosen = allocate_levels(table, np.array([macs[layer] for layer in seen], np.float64), levels, sparsity)
    progress(1, 1)
    masks = {
        layer: InputMask(norms[layer], thresholds[layer][levels.index(level)], level)
        for layer, level in zip(seen, chosen, strict=True)
        if level
    }
    return InputMasks(masks, macs, windows.size, tuple(layer for layer in weights if layer not in thresholds))


def _thresholds(
    model: Any, norms: Mapping[str, np.ndarray], batch: torch.Tensor, levels: Sequence[float]
) -> tuple[dict[str, tuple[float, ...]], torch.Tensor]:
    """Return the thresholds of every layer at every level, and the dense model's logits [n, t, vocabulary]."""
    inputs: dict[str, list[np.ndarray]] = {}

    def keep(layer: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            inputs.setdefault(layer, []).append(args[0].detach().flatten(0, -2).float().cpu().numpy())

        return hook

    with ExitStack() as stack:
        for layer in norms:
            stack.callback(find_module(model, layer).register_forward_pre_hook(keep(layer)).remove)
        logits = _logits(model, batch)
    found: dict[str, tuple[float, ...]] = {}
    for layer, parts in inputs.items():
        x = np.concatenate(parts)
        if x.size:
            found[layer] = score_thresholds(x, norms[layer], levels)
    return found, logits


def _divergences(
    model: Any,
    norms: Mapping[str, np.ndarray],
    thresholds: Mapping[str, tuple[float, ...]],
    layers: Sequence[str],
    levels: Sequence[float],
    batch: torch.Tensor,
    dense: torch.Tensor,
    progress: Report,
) -> Float64[np.ndarray, "layers levels"]:
    """Return KL(dense || with one layer masked) in nats per token, for every layer and level."""
    table = np.zeros((len(layers), len(levels)))
    expected = torch.log_softmax(dense, -1)
    for row, layer in enumerate(layers):
        for column, level in enumerate(levels):
            if level:
                mask = InputMask(norms[layer], thresholds[layer][column], level)
                with sparse_inputs(model, {layer: mask}):
                    got = torch.log_softmax(_logits(model, batch), -1)
                table[row, column] = float((expected.exp() * (expected - got)).sum(-1).mean(dtype=torch.float64))
            progress(row * len(levels) + column + 1, len(layers) * len(levels) + 1)
    return table


def _logits(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """Return the logits of windows in float32, [n, t, vocabulary]."""
    with torch.inference_mode():
        return torch.cat([model(input_ids=row[None], use_cache=False).logits.float() for row in batch])
