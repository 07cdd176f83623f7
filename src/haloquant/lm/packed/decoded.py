"""Weights of a packed model that stay decoded, for many short texts: each text would else decode all weights again."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from haloquant.lm.available_memory import available_b
from haloquant.lm.packed.halo_linear import HaloLinear

SHARE = 0.5  # of the free memory that decoded weights may take


@contextmanager
def decoded_weights(model: nn.Module, free_b: float | None = None) -> Iterator[int]:
    """Within the `with` block, packed layers multiply by their weights as they decode, float32, which stay in memory.

    The products are the same but for the rounding of their sums. Layers stay as they are if they round their inputs,
    leave some out, or compute in another type than float32; all do if the weights take more than half of the free
    memory.

    Args:
        model: a model, packed or not.
        free_b: free bytes of the memory where the model is; measured where None.

    Yields:
        The number of layers whose weights were decoded.
    """
    layers: list[Any] = [
        layer
        for layer in model.modules()
        if isinstance(layer, HaloLinear) and layer.weight.dtype == torch.float32 and layer.takes_inputs_whole
    ]
    needed_b = sum(4.0 * layer.in_features * layer.out_features for layer in layers)
    if not layers or needed_b > SHARE * (_free_b(layers[0].weight_packed.device) if free_b is None else free_b):
        yield 0
        return
    try:
        for layer in layers:
            weight = layer.dequantize(torch.float32)
            layer.forward = partial(nn.functional.linear, weight=weight, bias=layer.bias)
        yield len(layers)
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _free_b(device: torch.device) -> float:
    """Return the bytes that are free on a device; on this machine with what the cache of files would give back."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return available_b()
