"""Launch the Triton kernels: up to four tokens directly from packed codes, more through dequantized blocks of weights.

For few tokens, the tiles of a row are divided among several programs, whose sums are added in a fixed order. Results
repeat bit for bit as long as Triton's tuner selects the same rows and warps for a shape, as it does within a process.
Integer results do not depend on that. With TRITON_INTERPRET=1 the same code runs on the CPU; so it is tested on
machines without a GPU. The interpreter multiplies floats with the BLAS of numpy, which may round the last bit of a
token's result differently if there are other tokens. Integers are exact there too.
"""

# A Triton kernel is launched with options that its signature does not list:
# pyright: reportCallIssue=false

import torch
import triton

from haloquant.kernels.fallback import add_sparse
from haloquant.kernels.layer_tensors import PackedLayer
from haloquant.kernels.triton.activation_digits import planes_kernel
from haloquant.kernels.triton.dequantization import add_sparse_kernel, dequantize_kernel, scale_tile_sums_kernel
from haloquant.kernels.triton.gemm import gemm_kernel
from haloquant.kernels.triton.gemv import gather_kernel, gemv_kernel
from haloquant.quant.format.bit_layout import NINE

MOST_GPU_GEMV_TOKENS = 4
MOST_WORDS = 16  # largest codebook that registers hold
PROGRAMS = 2048  # target number of programs for one token: 16 for each of the 132 multiprocessors of an H200
USUAL_ROWS = 32  # rows of a block when programs are counted; the tuner may select another number
MOST_BLOCK_TOKENS = 64
MOST_BLOCK_WEIGHTS = 1 << 27  # weights that are dequantized at a time: 256 MiB of bfloat16
MOST_OFFSET = 2**31 - 1  # elements that one launch can address, since kernels use 32-bit offsets


def linear(x: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return x W^T in the type of x, [..., in] -> [..., out], accumulated in float32."""
    tokens = x.reshape(-1, layer.grid.in_features).contiguous()
    y = _gemv(tokens, layer) if tokens.shape[0] <= MOST_GPU_GEMV_TOKENS else _product(tokens, layer)
    return y.view(*x.shape[:-1], layer.grid.out_features)


def integer_tile_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the same as `fallback.integer_tile_sums`: i32 [tokens, out, across] of int8 tokens [tokens, in]."""
    return _tile_sums(tokens.contiguous(), layer).transpose(1, 2)


def integer_linear(tokens: torch.Tensor, token_scale: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the same as `fallback.integer_linear`, bit for bit: f32 [tokens, out] of int8 tokens [tokens, in]."""
    if tokens.shape[0] <= MOST_GPU_GEMV_TOKENS:
        dense = _scaled_tile_sums(tokens.contiguous(), layer)
    else:
        dense = torch.empty(tokens.shape[0], layer.grid.out_features, device=tokens.device)
        _launch_gemm(tokens.contiguous(), layer, dense)
    return add_sparse(dense, tokens, layer) * token_scale[:, None]


def dequantize(layer: PackedLayer, kind: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the weights [out, in], with the sparse part: word * scale in float32, rounded to the type `kind`."""
    grid = layer.grid
    weight = torch.empty(grid.out_features, grid.in_features, dtype=kind, device=layer.packed.device)
    _write_weights(layer, weight, 0)
    return weight


def _product(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Multiply many tokens: dequantize blocks of rows to the type of the tokens, and multiply with the library."""
    grid = layer.grid
    most = max(1, MOST_BLOCK_WEIGHTS // (grid.in_features * grid.tile_out))  # rows of tiles in a block
    step = most * grid.tile_out
    if step >= grid.out_features:
        return torch.nn.functional.linear(tokens, dequantize(layer, tokens.dtype))
    y = torch.empty(tokens.shape[0], grid.out_features, dtype=tokens.dtype, device=tokens.device)
    block = torch.empty(step, grid.in_features, dtype=tokens.dtype, device=tokens.device)
    for first in range(0, grid.out_features, step):
        weight = block[: min(step, grid.out_features - first)]
        _write_weights(layer, weight, first)
        y[:, first : first + step] = torch.nn.functional.linear(tokens, weight)
    return y


def _write_weights(layer: PackedLayer, weight: torch.Tensor, first_row: int) -> None:
    """Dequantize the rows from `first_row`, a multiple of the tile's rows, into `weight` [rows, in]."""
    grid = layer.grid
    down = -(-weight.shape[0] // grid.tile_out)
    dequantize_kernel[lambda chosen: (down * _blocks(layer, chosen), grid.across)](
        *_stored(layer),
        weight,
        grid.out_features,
        grid.in_features,
        grid.across,
        first_row // grid.tile_out,
        COLS=max(16, triton.next_power_of_2(min(grid.tile_in, grid.in_features))),
        **_sizes(layer),
        SIXTEEN=_has_sixteen(layer),
        enable_fp_fusion=True,
    )
    if layer.sparse is not None:
        sparse = layer.sparse
        col = _signed_columns(layer)
        add_sparse_kernel[(weight.shape[0],)](
            sparse.row_ptr,
            col,
            sparse.value,
            sparse.scale,
            weight,
            grid.in_features,
            first_row,
            WIDE=col.dtype == torch.int32,
            BLOCK=64,
            enable_fp_fusion=True,
        )


def _tile_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the int32 sums of tiles, [tokens, across, out]."""
    grid = layer.grid
    parts = torch.empty(tokens.shape[0], grid.across, grid.out_features, dtype=torch.int32, device=tokens.device)
    _launch_gemv(tokens, layer, parts, 1, int8=True)
    return parts


def _scaled_tile_sums(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """Return the same as `fallback.add_tiles` of the tile sums, bit for bit: f32 [tokens, out]."""
    grid = layer.grid
    y = torch.empty(tokens.shape[0], grid.out_features, device=tokens.device)
    scale_tile_sums_kernel[(-(-grid.out_features // 128), tokens.shape[0])](
        _tile_sums(tokens, layer),
        layer.scale,
        y,
        grid.out_features,
        grid.across,
        BLOCK=128,
        enable_fp_fusion=False,  # the accelerator rounds product and sum separately
    )
    return y


def _gemv(tokens: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    grid = layer.grid
    rows = grid.down * -(-grid.tile_out // USUAL_ROWS)
    each = max(1, grid.across * rows * tokens.shape[0] // PROGRAMS)
    splits = -(-grid.across // each)
    sums = splits * (2 if min(layer.sizes) <= NINE else 1)  # base-9 rows write their partial sums to a second plane
    parts = torch.empty(tokens.shape[0], sums, grid.out_features, dtype=torch.float32, device=tokens.device)
    _launch_gemv(tokens, layer, parts, each, int8=False)
    y = torch.empty(tokens.shape[0], grid.out_features, dtype=tokens.dtype, device=tokens.device)
    sparse = layer.sparse
    none = layer.counts  # placeholder that is never read
    col = none if sparse is None else _signed_columns(layer)
    gather_kernel[(grid.out_features, tokens.shape[0])](
        parts,
        tokens,
        none if sparse is None else sparse.row_ptr,
        col,
        none if sparse is None else sparse.value,
        none if sparse is None else sparse.scale,
        y,
        grid.out_features,
        grid.in_features,
        sums,
        SPARSE=sparse is not None,
        WIDE=col.dtype == torch.int32,
        BLOCK=64,
        enable_fp_fusion=True,
    )
    return y


def _launch_gemv(tokens: torch.Tensor, layer: PackedLayer, parts: torch.Tensor, each: int, int8: bool) -> None:
    grid = layer.grid
    splits = -(-grid.across // each)
    wide = _wide(grid.tile_in)
    digits = (tokens.shape[0], 1 if int8 else 3, grid.across, wide)
    planes = torch.empty(digits, dtype=torch.int8, device=tokens.device)
    steps = torch.empty(tokens.shape[0], grid.across, dtype=torch.float32, device=tokens.device)
    planes_kernel[(grid.across, tokens.shape[0])](
        tokens,
        planes,
        steps,
        grid.in_features,
        grid.across,
        TILE_IN=grid.tile_in,
        WIDE=wide,
        BLOCK=triton.next_power_of_2(wide),
        INT8=int8,
        enable_fp_fusion=True,
    )
    gemv_kernel[lambda chosen: (grid.down * _blocks(layer, chosen), splits, tokens.shape[0])](
        planes,
        steps,
        *_stored(layer),
        parts,
        grid.out_features,
        grid.in_features,
        grid.across,
        each,
        splits,
        WIDE=wide,
        **_sizes(layer),
        SIXTEEN=_has_sixteen(layer),
        INT8=int8,
        enable_fp_fusion=True,  # affects only the scaled float sums
    )


def _launch_gemm(tokens: torch.Tensor, layer: PackedLayer, y: torch.Tensor) -> None:
    grid = layer.grid
    most = max(1, MOST_OFFSET // max(grid.in_features, grid.out_features))
    for some, into in zip(tokens.split(most), y.split(most), strict=True):
        # Few different sizes, since each is compiled and tuned separately. `tl.dot` needs at least 16 rows.
        size = min(MOST_BLOCK_TOKENS, max(16, triton.next_power_of_2(some.shape[0])))
        gemm_kernel[
            lambda chosen, count=some.shape[0], size=size: (
                -(-count // size),
                grid.down * _blocks(layer, chosen),
            )
        ](
            some,
            *_stored(layer),
            into,
            some.shape[0],
            grid.out_features,
            grid.in_features,
            grid.across,
            COLS=max(16, triton.next_power_of_2(min(grid.tile_in, grid.in_features))),
            **_sizes(layer),
            BLOCK=size,
            enable_fp_fusion=False,  # the accelerator rounds product and sum separately
        )


def _signed_columns(layer: PackedLayer) -> torch.Tensor:
    """Return the columns of the sparse part for Triton: uint16 as int16, whose bits the kernels read as unsigned."""
    assert layer.sparse is not None  # noqa: S101 - the caller checked it
    col = layer.sparse.col
    return col.view(torch.int16) if col.dtype == torch.uint16 else col


def _has_sixteen(layer: PackedLayer) -> bool:
    """Return whether a codebook has 10 to 16 words."""
    return any(NINE < size <= MOST_WORDS for size in layer.sizes)


def _stored(layer: PackedLayer) -> tuple[torch.Tensor, ...]:
    return layer.packed, layer.scale, layer.classes, layer.offsets, layer.words, layer.counts


def _blocks(layer: PackedLayer, configuration: dict[str, int]) -> int:
    """Return the number of programs for one row of tiles, given the rows per program that the tuner selected."""
    return -(-layer.grid.tile_out // configuration["ROWS"])


def _wide(tile_in: int) -> int:
    """Return the padded number of inputs of a tile, so that whole lanes of 16 inputs can be read."""
    return 16 if tile_in <= 16 else 32 if tile_in <= 32 else -(-tile_in // 64) * 64


def _sizes(layer: PackedLayer) -> dict[str, int]:
    grid = layer.grid
    return {
        "TILE_OUT": grid.tile_out,
        "TILE_IN": grid.tile_in,
        "WORDS": layer.words.shape[1],
        "FULL": grid.in_features % grid.tile_in == 0,
        "NINE": min(layer.sizes) <= NINE,
        "MORE": max(layer.sizes) > MOST_WORDS,
    }
