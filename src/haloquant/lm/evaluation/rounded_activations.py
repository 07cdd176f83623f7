"""Simulate rounded activations (8 bits by default), as a MAC array multiplies them, in float32 during an evaluation.

The input x of each named linear layer is replaced by scale * clamp(round(x / scale), -127, 127). The scale is either
one per token, max |x| of the token / 127, computed at run time (dynamic), or one per layer, fixed by calibration
(static). With an equivalent transform (SmoothQuant, AWQ) the array multiplies x / s, so x / s is rounded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.lm.swap_weights import find_module
from haloquant.records import LayerStatistics

Quantizer = Callable[[torch.Tensor], torch.Tensor]


def quantize_per_token(x: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Round x to `bits`, with one scale for each vector along the last axis. Zero vectors stay zero."""
    top = _top(bits)
    scale = x.abs().amax(-1, keepdim=True) / top
    return _round(x, scale, top)


def quantize_per_tensor(x: torch.Tensor, absmax: float, bits: int = 8) -> torch.Tensor:
    """Round x to `bits` with the scale absmax / (2^(bits-1) - 1); values beyond `absmax` are clipped."""
    top = _top(bits)
    return _round(x, torch.tensor(absmax / top, dtype=x.dtype, device=x.device), top)


def _top(bits: int) -> int:
    if not 2 <= bits <= 16:
        raise InputError(f"activations must have 2 to 16 bits, not {bits}")
    return (1 << (bits - 1)) - 1


def _round(x: torch.Tensor, scale: torch.Tensor, top: int) -> torch.Tensor:
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (x / safe).round_().clamp_(-top, top).mul_(safe)


@contextmanager
def activations_per_token(
    model: Any,
    layers: Sequence[str],
    bits: int = 8,
    input_scale: Mapping[str, Float32[np.ndarray, " _"]] | None = None,
) -> Iterator[Any]:
    """Within the block, round the inputs of the named layers to `bits` bits, with one scale per token.

    Args:
        model: a loaded model.
        layers: the linear layers whose inputs are rounded.
        bits: bits of a rounded value, 2 to 16.
        input_scale: {layer: s} of an equivalent transform: x / s is rounded and multiplied by s again. The weight is
            not changed.
    """
    _top(bits)
    rounders: dict[str, Quantizer] = {layer: lambda x: quantize_per_token(x, bits) for layer in layers}
    with _rounded_inputs(model, rounders, input_scale or {}):
        yield model


@contextmanager
def activations_per_tensor(
    model: Any,
    statistics: Mapping[str, LayerStatistics],
    bits: int = 8,
    input_scale: Mapping[str, Float32[np.ndarray, " _"]] | None = None,
) -> Iterator[Any]:
    """Within the block, round the inputs of layers to `bits` bits, with one scale per layer from calibration.

    Args:
        model: a loaded model.
        statistics: statistics with `input_absmax` of the layers whose inputs are rounded.
        bits: bits of a rounded value, 2 to 16.
        input_scale: {layer: s} of an equivalent transform, as in `activations_per_token`.

    Raises:
        InputError: A layer has no recorded maximum.
    """
    _top(bits)
    scales = input_scale or {}
    rounders: dict[str, Quantizer] = {}
    for layer, known in statistics.items():
        if known.input_absmax is None:
            raise InputError(f"static activation scales need the calibrated maxima of {layer}, but it has none")
        maxima = known.input_absmax / scales[layer] if layer in scales else known.input_absmax
        absmax = float(np.max(maxima))
        rounders[layer] = lambda x, absmax=absmax: quantize_per_tensor(x, absmax, bits)
    with _rounded_inputs(model, rounders, scales):
        yield model


@contextmanager
def _rounded_inputs(
    model: torch.nn.Module, rounders: Mapping[str, Quantizer], input_scale: Mapping[str, np.ndarray]
) -> Iterator[None]:
    device = next(model.parameters()).device
    with ExitStack() as stack:
        for layer, rounder in rounders.items():
            scale = torch.from_numpy(input_scale[layer]).to(device) if layer in input_scale else None
            handle = find_module(model, layer).register_forward_pre_hook(_pre_hook(rounder, scale))
            stack.callback(handle.remove)
        yield


def _pre_hook(rounder: Quantizer, scale: torch.Tensor | None) -> Callable[[torch.nn.Module, tuple[Any, ...]], Any]:
    def hook(_module: torch.nn.Module, args: tuple[Any, ...]) -> Any:
        x = args[0]
        rounded = rounder(x) if scale is None else rounder(x / scale) * scale
        return (rounded, *args[1:])

    return hook
