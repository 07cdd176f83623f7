"""Choose the kernel that runs a packed layer: compiled code on the CPU, Triton or plain torch on other devices."""

from functools import cache
from importlib.util import find_spec
from typing import Any

import numba
import torch

from haloquant.errors import InfeasibleError
from haloquant.kernels import fallback
from haloquant.kernels.cpu import gemv, tile_products
from haloquant.kernels.cpu.tile_products import MOST_TOKENS
from haloquant.kernels.layer_tensors import PackedLayer

MOST_CPU_GEMV_TOKENS = 12  # with more tokens, it is cheaper to decode a block of weights once for all tokens
MOST_TILE_INPUTS = (1 << 24) // (128 * 128)  # sums of this many products of two int8 are exact in float32
BLOCK_WEIGHTS = 1 << 22  # weights that prefill decodes at a time: 16 MiB of float32


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of x, [..., in] -> [..., out], accumulated in float32."""
    if x.device.type != "cpu":
        y = _triton().linear(x, layer) if _has_triton() else fallback.linear(x, layer)
        if layer.tile_offset is None and not layer.exponent:
            return y
        tokens, y = x.reshape(-1, layer.grid.in_features), y.reshape(-1, layer.grid.out_features).to(torch.float32)
    else:
        tokens = x.reshape(-1, layer.grid.in_features).to(torch.float32)
        y = _decode(tokens, layer) if tokens.shape[0] <= MOST_CPU_GEMV_TOKENS else _prefill(tokens, layer)
    y = _resized(_with_offsets(y, tokens, layer), layer)
    return y.view(*x.shape[:-1], layer.grid.out_features).to(x.dtype)


def integer_linear(tokens: torch.Tensor, token_scale: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Compute the product in the accelerator's arithmetic; equal to `fallback.integer_linear` bit for bit.

    Args:
        tokens: activations, int8 [tokens, in].
        token_scale: one scale per token, f32 [tokens].
        layer: a packed layer.

    Returns:
        f32 [tokens, out].

    Raises:
        InfeasibleError: A tile is so long that float32 could not hold its integer sum exactly.
    """
    if tokens.device.type != "cpu":
        y = (_triton() if _has_triton() else fallback).integer_linear(tokens, token_scale, layer)
        return _resized(_with_offsets(y, tokens * token_scale[:, None], layer), layer)
    check_integers(layer.grid.tile_in)
    y = torch.empty(tokens.shape[0], layer.grid.out_features)
    share_threads()
    if tokens.shape[0] <= MOST_TOKENS:
        tile_products.integer_products(tokens.contiguous().numpy(), *layer.arrays, vectors=True, y=y.numpy())
    else:
        for some, out in zip(tokens.split(MOST_TOKENS), y.split(MOST_TOKENS), strict=True):
            tile_products.integer_products(some.contiguous().numpy(), *layer.arrays, vectors=True, y=out.numpy())
    return _resized(_with_offsets(y, tokens, layer) * token_scale[:, None], layer)


def check_integers(tile_in: int) -> None:
    """Refuse tiles whose integer sums float32 cannot hold exactly.

    Raises:
        InfeasibleError: A tile is so long.
    """
    if tile_in > MOST_TILE_INPUTS:
        raise InfeasibleError(f"tiles must be at most {MOST_TILE_INPUTS} inputs long for exact sums, not {tile_in}")


def rounded_linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of x, with x rounded to 8 bits by one scale for each token, max |x| / 127.

    Few tokens are multiplied as integers (`integer_linear`). Many are multiplied as the floats that they are rounded
    to, because a decoded block of weights then serves all of them. The results differ by the rounding of float32.
    A token with an infinity or a NaN becomes NaN.

    Raises:
        InfeasibleError: As for `integer_linear`.
    """
    tokens = x.reshape(-1, layer.grid.in_features).to(torch.float32)
    few = tokens.shape[0] <= (MOST_CPU_GEMV_TOKENS if x.device.type == "cpu" else 1)
    if few and x.device.type == "cpu":
        found, steps = tile_products.round_tokens(tokens.contiguous().numpy())
        codes, scale = torch.from_numpy(found), torch.from_numpy(steps)
    else:
        codes, scale = fallback.round_tokens(tokens)
    y = integer_linear(codes, scale, layer) if few else linear(codes.to(torch.float32) * scale[:, None], layer)
    return y.view(*x.shape[:-1], layer.grid.out_features).to(x.dtype)


def dequantize(layer: PackedLayer) -> torch.Tensor:
    """Return the weights, f32 [out, in]."""
    if layer.packed.device.type != "cpu":
        weight = (_triton() if _has_triton() else fallback).dequantize(layer)
    else:
        weight = torch.empty(layer.grid.out_features, layer.grid.in_features)
        share_threads()
        gemv.dequantize(*layer.arrays, first=0, out=weight.numpy())
    if layer.tile_offset is not None:
        weight += layer.tile_offset.float().repeat_interleave(layer.grid.tile_in, 1)[:, : weight.shape[1]]
    return _resized(weight, layer)


def tile_sums(tokens: torch.Tensor, tile_in: int) -> torch.Tensor:
    """Return the sums of the inputs of each tile, f32 [tokens, across], for tokens [tokens, in] of any type."""
    across = -(-tokens.shape[1] // tile_in)
    padded = torch.nn.functional.pad(tokens.to(torch.float32), (0, across * tile_in - tokens.shape[1]))
    return padded.view(-1, across, tile_in).sum(-1)


def _with_offsets(y: torch.Tensor, tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the products with those of the offsets added: each is multiplied by the sum of its tile's inputs."""
    if layer.tile_offset is None:
        return y
    return y + tile_sums(tokens, layer.grid.tile_in) @ layer.tile_offset.float().T


def _resized(found: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return what a kernel computed at the size of the layer: the kernels do not know of its exponent."""
    return found * 2.0**-layer.exponent if layer.exponent else found


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _triton() -> Any:
    from haloquant.kernels.triton import launch  # imports Triton, which may not be installed

    return launch


def _decode(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    y = torch.empty(tokens.shape[0], layer.grid.out_features)
    share_threads()
    if gemv.FAST and layer.grid.tile_in == gemv.WIDTH:
        for token, out in zip(tokens.contiguous().numpy(), y.numpy(), strict=True):
            gemv.gemv(token, *layer.arrays, fast=True, y=out)
        return y
    tile_products.float_products(tokens.contiguous().numpy(), *layer.arrays, vectors=True, y=y.numpy())
    return y


def _prefill(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    grid = layer.grid
    y = torch.empty(tokens.shape[0], grid.out_features)
    share_threads()
    step = max(1, BLOCK_WEIGHTS // (grid.in_features * grid.tile_out)) * grid.tile_out
    buffer = torch.empty(min(step, grid.out_features), grid.in_features)
    for first in range(0, grid.out_features, step):
        block = buffer[: min(step, grid.out_features - first)]
        gemv.dequantize(*layer.arrays, first=first, out=block.numpy())
        y[:, first : first + step] = tokens @ block.T
    return y


def share_threads() -> None:
    """Let numba use as many threads as torch, and leave torch's number as it is.

    Both share OpenMP, and the first call of a process in which numba starts its threads sets that number for both.
    """
    count = torch.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
