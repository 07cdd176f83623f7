"""Simulate rounded activations (8 bits by default), as a MAC array multiplies them, in float32 during an evaluation.

The input x of each named linear layer is replaced by scale * clamp(round(x / scale), -127, 127). The scale is either
one per token, max |x| of the token / 127, computed at run time (dynamic), or one per layer, fixed by calibration
(static). With an equivalent transform (SmoothQuant, AWQ) the array multiplies x / s, so x / s is rounded. Tokens may
have fewer bits by their importance (`lm.attention.token_importance`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from haloquant.errors import InputError
from haloquant.lm.attention.token_importance import TokenClasses, find_thresholds
from haloquant.lm.attention.watch import watched
from haloquant.lm.swap_weights import find_module
from haloquant.records import LayerStatistics
from haloquant.records.mixed_activations import LowTokens, MixedActivations

Quantizer = Callable[[torch.Tensor], torch.Tensor]


def quantize_per_token(x: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Round x to `bits`, with one scale for each vector along the last axis. Zero vectors stay zero."""
    top = _top(bits)
    scale = x.abs().amax(-1, keepdim=True) / top
    return _round(x, scale, top)


def quantize_by_class(x: torch.Tensor, low: torch.Tensor | bool, bits: int, low_bits: int) -> torch.Tensor:
    """Round x as `quantize_per_token` does, to `low_bits` where `low` is True and to `bits` elsewhere.

    Args:
        x: inputs, [..., in].
        low: the tokens in low bits, bool in their order; or one bool for all.
        bits: bits of the others.
        low_bits: their bits.
    """
    if isinstance(low, bool):
        return quantize_per_token(x, low_bits if low else bits)
    rows = x.reshape(-1, x.shape[-1])
    chosen, most = low.to(x.device).unsqueeze(-1), rows.abs().amax(-1, keepdim=True)
    tops = _top(low_bits), _top(bits)
    scale = torch.where(chosen, most / tops[0], most / tops[1])
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    codes = (rows / safe).round_()
    return torch.where(chosen, codes.clamp(-tops[0], tops[0]), codes.clamp(-tops[1], tops[1])).mul_(safe).view(x.shape)


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
) -> Iterator[None]:
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
        yield


@dataclass
class TokenCounts:
    """Tokens in low bits, and all tokens, of each layer; counted while the model runs."""

    low: dict[str, float] = field(default_factory=dict[str, float])
    seen: dict[str, int] = field(default_factory=dict[str, int])

    def share(self, layer: str) -> float:
        """Return the share of a layer's tokens that were in low bits; 0 for a layer without tokens."""
        return self.low[layer] / self.seen[layer] if self.seen.get(layer) else 0.0

    def mean(self, layers: Sequence[str]) -> float:
        """Return the mean share over layers."""
        return sum(self.share(layer) for layer in layers) / len(layers)


@contextmanager
def activations_by_class(
    model: Any,
    layers: Sequence[str],
    classes: TokenClasses,
    input_scale: Mapping[str, Float32[np.ndarray, " _"]] | None = None,
) -> Iterator[TokenCounts]:
    """Within the block, round the inputs of the named layers with one scale per token, to the bits of its class.

    Args:
        model: a loaded model.
        layers: the linear layers whose inputs are rounded.
        classes: the class of each token while the model runs.
        input_scale: {layer: s} of an equivalent transform, as in `activations_per_token`.

    Yields:
        The tokens so far.

    Raises:
        InputError: The model's attentions cannot be seen; or (while it runs) a layer does not get the model's tokens.
    """
    counts, mixed = TokenCounts(), classes.mixed

    def rounder(layer: str) -> Quantizer:
        def quantize(x: torch.Tensor) -> torch.Tensor:
            rows = x.numel() // x.shape[-1]
            low = classes.low_rows(rows, layer)
            counts.low[layer] = counts.low.get(layer, 0.0) + (rows * low if isinstance(low, bool) else float(low.sum()))
            counts.seen[layer] = counts.seen.get(layer, 0) + rows
            return quantize_by_class(x, low, mixed.bits, mixed.low_bits)

        return quantize

    with watched(model, classes), _rounded_inputs(model, {x: rounder(x) for x in layers}, input_scale or {}):
        yield counts


def find_mixed_activations(
    model: Any,
    layers: Sequence[str],
    windows: Int64[np.ndarray, "n t"],
    bits: int,
    low_bits: int,
    share: float,
    low_tokens: LowTokens = "lowest",
    input_scale: Mapping[str, Float32[np.ndarray, " _"]] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> MixedActivations:
    """Return how to round the inputs of a model by class: thresholds from the scores with all tokens in `bits`.

    Args:
        model: a loaded model.
        layers: the linear layers whose inputs are rounded.
        windows: windows of a calibration text.
        bits: bits of the inputs of a token.
        low_bits: bits of the inputs of a token in low bits.
        share: share of these tokens, 0 to 1.
        low_tokens: which tokens they are.
        input_scale: {layer: s} of an equivalent transform, as in `activations_per_token`.
        progress: called with windows done and of all.

    Raises:
        InputError: The model's attentions cannot be seen, or it has none.
    """
    _top(low_bits)
    with activations_per_token(model, layers, bits, input_scale):
        found = find_thresholds(model, windows, share, low_tokens, progress)
    return MixedActivations(bits, low_bits, share, found, windows.size)


@contextmanager
def activations_per_tensor(
    model: Any,
    statistics: Mapping[str, LayerStatistics],
    bits: int = 8,
    input_scale: Mapping[str, Float32[np.ndarray, " _"]] | None = None,
) -> Iterator[None]:
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
        yield


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
