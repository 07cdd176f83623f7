"""Round a model layer after layer beside its full-precision form: each layer sees both prefixes' inputs.

Two copies of the decoder advance together, one block of each in memory. One keeps its weights. In the other every layer
that was rounded computes with its rounded weight, and the inputs of layers may be rounded to 8 bits per token. The
inputs of a layer in both copies tell what the errors so far did to it (`quant.transforms.error_propagation`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float32, Int64

from haloquant.errors import InputError
from haloquant.lm.calibration.block_runner import BlockRunner
from haloquant.lm.calibration.by_block import layers_by_block
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.checkpoint.reader import Checkpoint, LinearLayer
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.swap_weights import find_module, get_weight, set_weight
from haloquant.quant.transforms.error_propagation import PairedInputs

Rounder = Callable[
    [LinearLayer, Float32[np.ndarray, "out in"], PairedInputs],
    Float32[np.ndarray, "out in"],
]


def round_against_full_precision(
    checkpoint: Checkpoint,
    windows: Int64[np.ndarray, "s t"],
    rounder: Rounder,
    activation_bits: int | None = 8,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[LinearLayer, Float32[np.ndarray, "out in"]]]:
    """Yield each layer with its rounded weight, in order of execution.

    Args:
        checkpoint: an opened model folder.
        windows: calibration windows, two at least. Even ones are the first half of `PairedInputs`, odd ones the second.
        rounder: called with a layer, its weight and its paired inputs; returns the weight that later layers see.
        activation_bits: bits of the inputs in the rounded copy, one scale per token; None leaves them.
        progress: called with the number of blocks done and of all blocks.

    Raises:
        InputError: there are fewer than two windows, or a layer is one of several experts, whose two copies need not
            see the same tokens.
        CheckpointError: the model cannot be run block by block.
    """
    if len(windows) < 2:
        raise InputError(f"paired inputs need two windows of calibration text at least, not {len(windows)}")
    experts = [layer.name for layer in checkpoint.layers if expert_family(layer.name) is not None]
    if experts:
        raise InputError(f"rounding against full precision needs a model without experts, and {experts[0]} is of one")
    full, rounded = BlockRunner(checkpoint, windows), BlockRunner(checkpoint, windows)
    full.learn(windows)
    rounded.learn(windows)
    for block, layers in layers_by_block(checkpoint, len(full.blocks)):
        names = [layer.name for layer in layers] if activation_bits is not None else []
        with ExitStack() as stack:
            stack.enter_context(full.loaded(block))
            stack.enter_context(rounded.loaded(block))
            stack.enter_context(activations_per_token(rounded.empty_model.model, names, activation_bits or 8))
            for _, members in groupby(layers, key=lambda layer: layer.group):
                group = list(members)
                for layer, inputs in zip(group, _pair_inputs(full, rounded, block, group), strict=True):
                    weight = rounder(layer, get_weight(rounded.empty_model.model, layer.name), inputs)
                    set_weight(rounded.empty_model.model, layer.name, weight)
                    yield layer, weight
            full.advance(block)
            rounded.advance(block)
        if progress is not None:
            progress(block + 1, len(full.blocks))


def _pair_inputs(
    full: BlockRunner, rounded: BlockRunner, block: int, group: Sequence[LinearLayer]
) -> list[PairedInputs]:
    """Return the moments of the inputs of a group's layers in both copies of a loaded block."""
    sums = {layer.name: np.zeros((4, layer.in_features, layer.in_features), np.float64) for layer in group}
    tokens = [0, 0]
    for index in range(len(full.windows)):
        half = index % 2
        clean, actual = (_inputs(runner, block, index, group) for runner in (full, rounded))
        tokens[half] += full.windows.shape[1]
        for layer in group:
            x, y = clean[layer.name], actual[layer.name]
            sums[layer.name][2 * half] += y.T @ y
            sums[layer.name][2 * half + 1] += x.T @ y
    scale = np.repeat(2.0 / np.array(tokens), 2)
    made = {name: (total * scale[:, None, None]).astype(np.float32) for name, total in sums.items()}
    return [PairedInputs(layer.name, *made[layer.name]) for layer in group]


def _inputs(runner: BlockRunner, block: int, index: int, group: Sequence[LinearLayer]) -> dict[str, np.ndarray]:
    """Return the inputs [tokens, in] of a group's layers for one window, as the layers compute with them."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            found[name] = args[0].detach().flatten(0, -2).float().cpu().numpy()

        return hook

    model = runner.empty_model.model
    with ExitStack() as stack, torch.no_grad():
        for layer in group:  # after the hooks that round activations, so that these hooks see rounded inputs
            handle = find_module(model, layer.name).register_forward_pre_hook(keep(layer.name))
            stack.callback(handle.remove)
        runner.run(block, runner.states(index), runner.windows[index], dict(runner.handed[index]))
    return found
