"""Choose the kernel that runs a packed layer: compiled code on the CPU, and CUDA C++, Triton or torch elsewhere."""

from typing import Any, TypeVar, cast

import numba
import numpy as np
import torch

from haloquant.errors import InfeasibleError
from haloquant.kernels import fallback
from haloquant.kernels.cpu import gemv, tile_products
from haloquant.kernels.cpu.column_products import column_product
from haloquant.kernels.cpu.tile_products import MOST_TOKENS
from haloquant.kernels.cuda import launch as in_cuda
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.kernels.triton.presence import has_triton

MOST_CPU_GEMV_TOKENS = 12  # with more tokens, it is cheaper to decode a block of weights once for all tokens
MOST_INTEGER_COLUMNS = 0.4  # share of the columns; with more, the dense kernel of integers is faster
MOST_TILE_INPUTS = (1 << 24) // (128 * 128)  # sums of this many products of two int8 are exact in float32
BLOCK_WEIGHTS = 1 << 22  # weights that prefill decodes at a time: 16 MiB of float32
_EIGHT_BITS = np.full(MOST_CPU_GEMV_TOKENS, 1 / 127, np.float32)  # 1 / the largest code, by token
_Found = TypeVar("_Found", torch.Tensor, np.ndarray)


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of x, [..., in] -> [..., out], accumulated in float32."""
    if x.device.type != "cpu":
        inputs = x.reshape(-1, layer.grid.in_features)
        y = _gpu_kernels(inputs, layer).linear(inputs, layer)
        if layer.tile_offset is None and not layer.exponent:
            return y.view(*x.shape[:-1], layer.grid.out_features)
        return _like(x, _resized(_with_offsets(y.to(torch.float32), inputs, layer), layer))
    tokens = _rows(x)
    if tokens.shape[0] > MOST_CPU_GEMV_TOKENS:
        inputs = torch.from_numpy(tokens)
        return _like(x, _resized(_with_offsets(_prefill(inputs, layer), inputs, layer), layer))
    return _like(x, _completed(_float_products(tokens, layer), tokens, layer))


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
        y = _gpu_kernels(tokens, layer).integer_linear(tokens, token_scale, layer)
        return _resized(_with_offsets(y, tokens * token_scale[:, None], layer), layer)
    codes, scale = tokens.contiguous().numpy(), token_scale.contiguous().numpy()
    return torch.from_numpy(_integer_products(codes, scale, layer))


def check_integers(tile_in: int) -> None:
    """Refuse tiles whose integer sums float32 cannot hold exactly.

    Raises:
        InfeasibleError: A tile is so long.
    """
    if tile_in > MOST_TILE_INPUTS:
        raise InfeasibleError(f"tiles must be at most {MOST_TILE_INPUTS} inputs long for exact sums, not {tile_in}")


def rounded_linear(x: torch.Tensor, layer: PackedLayer, steps: torch.Tensor | None = None) -> torch.Tensor:
    """Return x W^T in the type of x, with x rounded to 8 bits by one scale for each token, max |x| / 127.

    `steps` gives other bits, 8 at most: 1 / the largest code of each token, f32 [tokens]. The integers are smaller then
    and the kernels the same.

    Few tokens are multiplied as integers (`integer_linear`). Many are multiplied as the floats that they are rounded
    to, because a decoded block of weights then serves all of them. The results differ by the rounding of float32.
    A token with an infinity or a NaN becomes NaN.

    Raises:
        InfeasibleError: As for `integer_linear`.
    """
    if x.device.type == "cpu" and x.numel() <= MOST_CPU_GEMV_TOKENS * layer.grid.in_features:
        rows = _rows(x)
        known = _EIGHT_BITS[: rows.shape[0]] if steps is None else steps.numpy()
        codes, scale = tile_products.round_tokens(rows, known)
        return _like(x, _integer_products(codes, scale, layer))
    codes, scale = fallback.round_tokens(x.reshape(-1, layer.grid.in_features).to(torch.float32), steps)
    # The sparse part of integers is added by operations of torch, which several tokens do not gain from.
    integers = codes.shape[0] <= 1 or (layer.sparse is None and in_cuda.takes(codes, layer))
    few = x.device.type != "cpu" and integers
    y = integer_linear(codes, scale, layer) if few else linear(codes.to(torch.float32) * scale[:, None], layer)
    return _like(x, y)


def dequantize(layer: PackedLayer) -> torch.Tensor:
    """Return the weights, f32 [out, in]."""
    if layer.packed.device.type != "cpu":
        weight = (_triton() if has_triton() else fallback).dequantize(layer)
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


def _resized(found: _Found, layer: PackedLayer) -> _Found:
    """Return what a kernel computed at the size of the layer: the kernels do not know of its exponent."""
    return cast(_Found, found * 2.0**-layer.exponent) if layer.exponent else found


def _gpu_kernels(tokens: torch.Tensor, layer: PackedLayer) -> Any:
    """Return what multiplies on a GPU: CUDA C++ for few tokens and full tiles, Triton for others, or plain torch."""
    if in_cuda.takes(tokens, layer):
        return in_cuda
    return _triton() if has_triton() else fallback


def _triton() -> Any:
    from haloquant.kernels.triton import launch  # imports Triton, which may not be installed

    return launch


# A generated token makes hundreds of products, and each call of torch, a view included, costs one to five microseconds.
# So products with few tokens stay in numpy between one tensor and the next.


def _rows(x: torch.Tensor) -> np.ndarray:
    """Return the tokens of a tensor on the CPU as float32 [tokens, in], without a copy where the tensor allows it."""
    given = x if x.dtype is torch.float32 else x.to(torch.float32)
    array = (given.detach() if given.requires_grad else given).numpy()
    return np.ascontiguousarray(array).reshape(-1, array.shape[-1])


def _like(x: torch.Tensor, y: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return products [tokens, out] with the leading sizes of x, [..., out], in the type of x."""
    shaped = y.reshape(*x.shape[:-1], y.shape[-1])
    found = torch.from_numpy(shaped) if isinstance(shaped, np.ndarray) else shaped
    return found if found.dtype is x.dtype else found.to(x.dtype)


def _completed(y: np.ndarray, tokens: np.ndarray, layer: PackedLayer) -> np.ndarray:
    """Return products on the CPU with those of the offsets added, and at the size of the layer."""
    if layer.tile_offset is None and not layer.exponent:
        return y
    return _resized(_with_offsets(torch.from_numpy(y), torch.from_numpy(tokens), layer), layer).numpy()


def _integer_products(codes: np.ndarray, scale: np.ndarray, layer: PackedLayer) -> np.ndarray:
    """Do what `integer_linear` does, on the CPU: codes int8 [tokens, in], scale f32 [tokens] -> f32 [tokens, out]."""
    share_threads()
    check_integers(layer.grid.tile_in)
    y = np.empty((codes.shape[0], layer.grid.out_features), np.float32)
    columns = layer.columns if codes.shape[0] == 1 else None
    if columns is not None and np.count_nonzero(codes) <= MOST_INTEGER_COLUMNS * codes.size:
        column_product(codes[0].astype(np.float32), columns, layer.arrays, y[0], codes[0])
    elif gemv.FAST_INTEGERS and layer.grid.tile_in == gemv.WIDTH and codes.shape[0] == 1:
        gemv.integer_gemv(codes[0], *layer.arrays, y=y[0])
    else:
        for first in range(0, codes.shape[0], MOST_TOKENS):
            some = slice(first, first + MOST_TOKENS)
            tile_products.integer_products(codes[some], *layer.arrays, vectors=True, y=y[some])
    if layer.tile_offset is not None:
        y = _with_offsets(torch.from_numpy(y), torch.from_numpy(codes), layer).numpy()
    y *= scale[:, None]
    return _resized(y, layer)


def _float_products(tokens: np.ndarray, layer: PackedLayer) -> np.ndarray:
    share_threads()
    y = np.empty((tokens.shape[0], layer.grid.out_features), np.float32)
    if layer.columns is not None and tokens.shape[0] == 1:
        column_product(tokens[0], layer.columns, layer.arrays, y[0])
        return y
    if gemv.FAST and layer.grid.tile_in == gemv.WIDTH:
        for token, out in zip(tokens, y, strict=True):
            gemv.gemv(token, *layer.arrays, y=out)
        return y
    tile_products.float_products(tokens, *layer.arrays, vectors=True, y=y)
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
