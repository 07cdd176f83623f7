"""Choose the kernel that runs a packed layer: compiled code on the CPU, Triton or plain torch on other devices."""

from functools import cache
from importlib.util import find_spec
from typing import Any

import numba
import numpy as np
import torch

from haloquant.errors import InfeasibleError
from haloquant.kernels import fallback
from haloquant.kernels.cpu import gemv, tile_products
from haloquant.kernels.cpu.tile_products import MOST_TOKENS
from haloquant.kernels.layer_tensors import PackedLayer

MOST_CPU_GEMV_TOKENS = 12  # with more tokens, it is cheaper to decode a block of weights once for all tokens
BLOCK_WEIGHTS = 1 << 22  # weights that prefill decodes at a time: 16 MiB of float32


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of x, [..., in] -> [..., out], accumulated in float32."""
    if x.device.type != "cpu":
        return _triton().linear(x, layer) if _has_triton() else fallback.linear(x, layer)
    tokens = x.reshape(-1, layer.grid.in_features).to(torch.float32)
    y = _decode(tokens, layer) if tokens.shape[0] <= MOST_CPU_GEMV_TOKENS else _prefill(tokens, layer)
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
        InfeasibleError: a tile is so long that float32 could not hold its integer sum exactly.
    """
    if tokens.device.type != "cpu":
        return (_triton() if _has_triton() else fallback).integer_linear(tokens, token_scale, layer)
    most = (1 << 24) // (128 * 128)
    if layer.grid.tile_in > most:
        raise InfeasibleError(f"tiles must be at most {most} inputs long for exact sums, not {layer.grid.tile_in}")
    y = torch.empty(tokens.shape[0], layer.grid.out_features)
    arrays = _arrays(layer)
    for some, out in zip(tokens.split(MOST_TOKENS), y.split(MOST_TOKENS), strict=True):
        tile_products.integer_products(some.contiguous().numpy(), *arrays, vectors=True, y=out.numpy())
    return y * token_scale[:, None]


def dequantize(layer: PackedLayer) -> torch.Tensor:
    """Return the weights, f32 [out, in]."""
    if layer.packed.device.type != "cpu":
        return (_triton() if _has_triton() else fallback).dequantize(layer)
    weight = torch.empty(layer.grid.out_features, layer.grid.in_features)
    gemv.dequantize(*_arrays(layer), first=0, out=weight.numpy())
    return weight


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


def _triton() -> Any:
    from haloquant.kernels.triton import launch  # imports Triton, which may not be installed

    return launch


def _decode(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    y = torch.empty(tokens.shape[0], layer.grid.out_features)
    arrays = _arrays(layer)
    if gemv.FAST and layer.grid.tile_in == gemv.WIDTH:
        for token, out in zip(tokens.contiguous().numpy(), y.numpy(), strict=True):
            gemv.gemv(token, *arrays, fast=True, y=out)
        return y
    for some, out in zip(tokens.split(MOST_TOKENS), y.split(MOST_TOKENS), strict=True):
        tile_products.float_products(some.contiguous().numpy(), *arrays, vectors=True, y=out.numpy())
    return y


def _prefill(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    grid = layer.grid
    y = torch.empty(tokens.shape[0], grid.out_features)
    arrays = _arrays(layer)
    step = max(1, BLOCK_WEIGHTS // (grid.in_features * grid.tile_out)) * grid.tile_out
    buffer = torch.empty(min(step, grid.out_features), grid.in_features)
    for first in range(0, grid.out_features, step):
        block = buffer[: min(step, grid.out_features - first)]
        gemv.dequantize(*arrays, first=first, out=block.numpy())
        y[:, first : first + step] = tokens @ block.T
    return y


def _arrays(layer: PackedLayer) -> Any:
    """Return the stored tensors as numpy arrays, without a copy, in the order of the kernels' arguments.

    It also sets the number of numba's threads to that of torch. Both share OpenMP, so a number that numba sets would
    also hold for torch.
    """
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    sparse = layer.sparse
    if sparse is None:
        empty = np.empty(0, np.uint16)
        parts = (np.empty(0, np.int32), empty, np.empty(0, np.int8), empty)
    else:
        parts = (sparse.row_ptr.numpy(), sparse.col.numpy(), sparse.value.numpy(), _bits(sparse.scale))
    grid = layer.grid
    return (
        layer.packed.numpy(),
        _bits(layer.scale),
        layer.classes.numpy(),
        layer.offsets.numpy(),
        layer.table.numpy(),
        np.array(layer.sizes, np.int64),
        (grid.tile_out, grid.tile_in),
        parts,
    )


def _bits(half: torch.Tensor) -> np.ndarray:
    return half.view(torch.uint16).numpy()
