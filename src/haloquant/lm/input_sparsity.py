"""Find the masks of a model's inputs on a sample of text: thresholds, and how sparsity is divided among the layers.

The sample runs through the dense model once, and every layer's scores give its thresholds when its decoder block has
ended, so that the inputs of one block are in memory. `uniform` takes the same sparsity in every layer. `divergence`
measures each layer at each level alone, as the divergence of the model's predictions from those of the dense model, and
divides the sparsity so that the summed divergence is least (`quant.input_sparsity.levels`). That takes a pass over the
sample for every layer and level.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float64, Int64

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.calibration.empty_model import decoder_blocks
from haloquant.lm.evaluation.sparse_inputs import sparse_inputs
from haloquant.lm.swap_weights import find_module
from haloquant.quant.input_sparsity.levels import InputAllocation, allocate_levels, levels_around
from haloquant.quant.input_sparsity.scores import SAMPLE_TOKENS, InputMask, column_norms, score_thresholds

Report = Callable[[int, int], None]
Thresholds = tuple[tuple[float, float], ...]  # of a layer: threshold and measured sparsity at every level


@dataclass(frozen=True)
class InputMasks:
    """The masks of a model.

    Attributes:
        masks: masks of the layers whose inputs are sparse.
        macs: multiply-accumulates of every linear layer for a token.
        tokens: tokens of the sample; 0 where it is not known.
        unseen: layers that no token of the sample reached; they stay dense.
        levels: the sparsity that each layer was given, 0 for a dense one; the masks' own is what was measured.
    """

    masks: Mapping[str, InputMask]
    macs: Mapping[str, int]
    tokens: int = 0
    unseen: tuple[str, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict[str, float])

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
    given: Mapping[str, float] | None = None,
) -> InputMasks:
    """Return masks that leave out a share of the multiply-accumulates of a model's linear layers.

    Args:
        model: a loaded model, which computes with `weights`.
        weights: weights [out, in] by layer; each is read once.
        windows: windows of a calibration text.
        sparsity: share of the multiply-accumulates to leave out, from 0 to `MOST_SPARSITY`.
        allocation: how the share is divided among the layers.
        progress: called with passes over the sample that are done, and with all of them.
        given: the sparsity of each layer if it was chosen before (`InputMasks.levels`), which is not searched then.

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
    if given is not None:
        levels = tuple(sorted({*given.values(), sparsity}))
    else:
        levels = (sparsity,) if allocation == "uniform" else levels_around(sparsity)
    batch = torch.from_numpy(windows).to(next(model.parameters()).device)
    thresholds, dense = _thresholds(model, norms, batch, levels)
    seen = [layer for layer in weights if layer in thresholds]
    if given is not None and (unknown := [layer for layer in seen if layer not in given]):
        raise ValueError(f"the sparsity that was chosen must hold every layer, and it lacks {unknown[0]}")
    chosen = tuple(sparsity if given is None else given[layer] for layer in seen)
    if allocation == "divergence" and given is None:
        table = _divergences(model, norms, thresholds, seen, levels, batch, dense, progress)
        chosen = allocate_levels(table, np.array([macs[layer] for layer in seen], np.float64), levels, sparsity)
    progress(1, 1)
    by_layer = dict(zip(seen, chosen, strict=True))
    masks = {
        layer: InputMask(norms[layer], *thresholds[layer][levels.index(level)])
        for layer, level in by_layer.items()
        if level
    }
    unseen = tuple(layer for layer in weights if layer not in thresholds)
    return InputMasks(masks, macs, windows.size, unseen, by_layer)


def _thresholds(
    model: Any, norms: Mapping[str, np.ndarray], batch: torch.Tensor, levels: Sequence[float]
) -> tuple[dict[str, Thresholds], torch.Tensor]:
    """Return the thresholds of every layer at every level, and the dense model's logits [n, t, vocabulary]."""
    inputs: dict[str, list[np.ndarray]] = {}
    found: dict[str, Thresholds] = {}

    def keep(layer: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            inputs.setdefault(layer, []).append(args[0].detach().flatten(0, -2).float().cpu().numpy())

        return hook

    def finish(layers: Sequence[str]) -> None:
        for layer in layers:
            x = np.concatenate(inputs.pop(layer)) if layer in inputs else np.zeros(0, np.float32)
            if x.size:
                found[layer] = score_thresholds(x, norms[layer], levels)

    def end(layers: Sequence[str]) -> Callable[..., None]:
        return lambda *_: finish(layers)

    with ExitStack() as stack:
        for layer in norms:
            stack.callback(find_module(model, layer).register_forward_pre_hook(keep(layer)).remove)
        for block, layers in _layers_by_block(model, list(norms)):
            stack.callback(block.register_forward_hook(end(layers)).remove)
        logits = _logits(model, batch)
    finish(list(norms))  # those outside the blocks
    return found, logits


def _layers_by_block(model: Any, layers: Sequence[str]) -> list[tuple[torch.nn.Module, list[str]]]:
    """Return the decoder blocks with their layers; a layer that several blocks share is in the last of them."""
    try:
        blocks = decoder_blocks(model, layers)
    except CheckpointError:
        return []  # the model keeps its blocks in no list
    last = {id(module): index for index, block in enumerate(blocks) for module in block.modules()}
    found: list[tuple[torch.nn.Module, list[str]]] = [(block, []) for block in blocks]
    for layer in layers:
        if (index := last.get(id(find_module(model, layer)))) is not None:
            found[index][1].append(layer)
    return found


def _divergences(
    model: Any,
    norms: Mapping[str, np.ndarray],
    thresholds: Mapping[str, Thresholds],
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
                mask = InputMask(norms[layer], *thresholds[layer][column])
                with sparse_inputs(model, {layer: mask}):
                    got = torch.log_softmax(_logits(model, batch), -1)
                table[row, column] = float((expected.exp() * (expected - got)).sum(-1).mean(dtype=torch.float64))
            progress(row * len(levels) + column + 1, len(layers) * len(levels) + 1)
    return table


def _logits(model: Any, batch: torch.Tensor) -> torch.Tensor:
    """Return the logits of windows in float32, [n, t, vocabulary]. All windows run together, block after block."""
    with torch.inference_mode():
        return model(input_ids=batch, use_cache=False).logits.float()
