"""Sparse inputs of a loaded model: masks from a calibration text, and what an evaluation says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from haloquant.jobs.inputs import Progress, read_text
from haloquant.jobs.quantize.request import Request
from haloquant.lm.evaluation.perplexity import default_window
from haloquant.lm.evaluation.sparse_inputs import InputCounts
from haloquant.lm.export.trained_scales import export_masks
from haloquant.lm.input_sparsity import InputMasks, find_input_masks, sample_windows
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import open_packed
from haloquant.lm.quiet_transformers import quiet_transformers
from haloquant.lm.swap_weights import LayerWeights, find_module, get_weight
from haloquant.quant.format.input_masks import MASK_TENSORS, unpack_mask
from haloquant.quant.input_sparsity.levels import InputAllocation
from haloquant.quant.input_sparsity.scores import InputMask


@dataclass(frozen=True)
class InputSparsity:
    """How many inputs are left out, and by which thresholds.

    Attributes:
        sparsity: share of the multiply-accumulates of the linear layers.
        allocation: `uniform`, or `divergence` (`lm.input_sparsity`).
        calibration: the text, or `demo`, on which the thresholds are found.
    """

    sparsity: float
    allocation: InputAllocation = "uniform"
    calibration: str = "demo"


def masks_of_model(
    model: Any, layers: Sequence[str], folder: Path, asked: InputSparsity, progress: Progress
) -> tuple[InputMasks, str]:
    """Return the masks of a loaded model, and a sentence on how they were found.

    Args:
        model: a loaded model, plain or packed.
        layers: its linear layers.
        folder: its folder, which holds the tokenizer.
        asked: the sparsity.
        progress: called with the name of the task, passes done and passes in all.

    Raises:
        RecipeError: The text is missing.
        InputError: The text is too short, or the model gives NaN or infinity.
    """
    text = read_text(folder, asked.calibration, "calibration")
    windows = sample_windows(text.tokens, default_window(model))
    found = find_input_masks(
        model, loaded_weights(model, layers), windows, asked.sparsity, asked.allocation,
        lambda done, total: progress("find thresholds of inputs", done, total),
    )  # fmt: skip
    return found, describe_masks(found, asked.allocation, text.name)


def export_with_masks(
    dense: Path, out: Path, request: Request, progress: Progress, levels: Mapping[str, float] | None = None
) -> tuple[int, str]:
    """Write a packed model again with masks of its inputs, as the recipe of a request asks for.

    Args:
        dense: the packed model without masks. It is loaded as a whole.
        out: the folder to write; empty or not there yet.
        request: the settings, with the calibration windows.
        progress: called with the name of the task, passes done and passes in all.
        levels: the sparsity of each layer, if an evaluation of the same weights chose it; None chooses it here.

    Returns:
        The stored bits of the masks, and a sentence on them.
    """
    packed, quantize, windows = open_packed(dense), request.recipe.quantize, request.calibration
    if windows is None:
        raise ValueError("masks of inputs must have calibration windows")
    with quiet_transformers():
        model = load(dense, dtype=torch.float32).to(request.device)
    sample = sample_windows(windows.reshape(-1), windows.shape[1])
    found = find_input_masks(
        model, loaded_weights(model, packed.config.layers), sample, quantize.input_sparsity,
        quantize.input_allocation, lambda done, total: progress("find thresholds of inputs", done, total), levels,
    )  # fmt: skip
    bits = export_masks(packed, found.masks, out, {})
    return bits, describe_masks(found, quantize.input_allocation, "the calibration text")


def stored_masks(model: Any, layers: Sequence[str]) -> InputMasks | None:
    """Return the masks that a loaded packed model holds; None if it holds none."""
    masks: dict[str, InputMask] = {}
    macs: dict[str, int] = {}
    for layer in layers:
        module = find_module(model, layer)
        if not isinstance(module, HaloLinear):
            return None
        macs[layer] = module.out_features * module.in_features
        stored = {name: tensor.cpu().numpy() for name, tensor in module.stored().items() if name in MASK_TENSORS}
        mask = unpack_mask(stored)
        if mask is not None:
            masks[layer] = mask
    return InputMasks(masks, macs) if masks else None


def describe_masks(found: InputMasks, allocation: InputAllocation, text: str) -> str:
    """Return a sentence on masks: how many inputs they leave out, by what, and which layers have none."""
    share = "the same share in each layer" if allocation == "uniform" else "a share of its own in each layer"
    unseen = f"; {len(found.unseen)} layers that none of them reached stay dense" if found.unseen else ""
    return (
        f"inputs that hold {found.sparsity:.1%} of the multiply-accumulates are left out, {share}, by thresholds from "
        f"{found.tokens} tokens of {text}{unseen}"
    )


def loaded_weights(model: Any, layers: Sequence[str]) -> LayerWeights:
    """Return the weights [out, in] of a loaded model's layers, plain or packed, each read when it is asked for."""
    return LayerWeights({layer: partial(_weight, model, layer) for layer in layers})


def _weight(model: Any, layer: str) -> np.ndarray:
    module = find_module(model, layer)
    if isinstance(module, HaloLinear):
        return module.dequantize(torch.float32).cpu().numpy()
    return get_weight(model, layer)


def mac_density(counts: InputCounts, macs: Mapping[str, int]) -> float:
    """Return the share of the multiply-accumulates of all linear layers that masked tokens kept."""
    return sum(size * counts.density(layer) for layer, size in macs.items()) / sum(macs.values())
