"""The Triton kernels themselves: `gpu` launches them, and says how they divide the work.

Codes are decoded in registers, out of the tile's codebook, which stays in the first-level cache; weights are never
written to memory. A program takes a row of tiles, or a block of that row's rows: how many rows and warps are best is
measured on the board by Triton's tuner when a shape is first met, for it could not be known without one.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import Any, no_type_check

import triton
import triton.language as tl

# The interpreter has no clock to tune by: there all kernels run with the first.
_TUNED = not triton.knobs.runtime.interpret
_GEMV_WAYS = [(32, 4), (16, 2), (16, 4), (32, 2), (32, 8), (64, 4), (64, 8), (128, 8), (128, 16)]  # rows, warps
_GEMM_WAYS = [(64, 4), (32, 4), (64, 8), (128, 4), (128, 8)]


def _ways(ways: list[tuple[int, int]]) -> list[triton.Config]:
    return [triton.Config({"ROWS": rows}, num_warps=warps) for rows, warps in (ways if _TUNED else ways[:1])]


def _fitting(configs: list[triton.Config], arguments: dict[str, Any], **sizes: Any) -> list[triton.Config]:
    """Leave out blocks of more rows than a tile has."""
    tile = sizes.get("TILE_OUT", arguments.get("TILE_OUT"))
    return [one for one in configs if one.kwargs["ROWS"] <= max(16, tile)] or configs[:1]


PRUNE = {"early_config_prune": _fitting}


@triton.jit
@no_type_check
def _half_codes(packed, at, r, h, rows, cols, first):
    """Codes of the even and of the odd inputs [rows, inputs / 2] of rows in nibbles, from row `first` on."""
    place = at + (r - first) * ((cols + 1) // 2) + h
    here = (r >= first) & (r < rows) & (h < (cols + 1) // 2)  # as 2 h < cols, but seen to hold for whole vectors
    pair = tl.load(packed + place, mask=here, other=0).to(tl.int32)
    return pair & 15, pair >> 4


@triton.jit
@no_type_check
def _five_codes(packed, at, r, j, groups, cols, power):
    """Codes [rows, inputs] of rows in base 9: fraction * 9^k without its whole part, times 9, is the k-th digit."""
    pairs = (packed + at).to(tl.pointer_type(tl.uint16))  # tiles start at multiples of 16 bytes
    here = (r < groups * 5) & (j < cols)
    fraction = tl.load(pairs + (r // 5 * cols + j), mask=here, other=0).to(tl.int32)
    rest = (fraction * power) & 65535
    return (rest * 9) >> 16


@triton.jit
@no_type_check
def _powers(r):
    """9 to the power of the row's place in its group of five."""
    k = r % 5
    return tl.where(k == 0, 1, tl.where(k == 1, 9, tl.where(k == 2, 81, tl.where(k == 3, 729, 6561))))


@triton.autotune(_ways(_GEMV_WAYS), ["out_features", "in_features", "WHOLE"], prune_configs_by=PRUNE)
@triton.jit
@no_type_check
def gemv_kernel(
    x, packed, scale, classes, offsets, table, counts, y,
    out_features, in_features, across, each, splits,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, COLS: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    WHOLE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """y[token, split, out] = sum over the split's tiles of scale * sum of word * x.

    With WHOLE, x is int8, `splits` is `across`, each split is one tile, and y holds its int32 sums, not scaled. FULL
    says that every tile is TILE_IN inputs long.
    """
    blocks = tl.cdiv(TILE_OUT, ROWS)
    d = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks * ROWS
    split = tl.program_id(1)
    token = tl.program_id(2)
    r = block + tl.arange(0, ROWS)[:, None]
    j = tl.arange(0, COLS)[None, :]
    h = tl.arange(0, COLS // 2)[None, :]
    rows = tl.minimum(TILE_OUT, out_features - d * TILE_OUT)
    row = d * TILE_OUT + block + tl.arange(0, ROWS)
    inside = block + tl.arange(0, ROWS) < rows
    power = _powers(r)
    total = tl.zeros((ROWS,), tl.int32 if WHOLE else tl.float32)
    for a in range(split * each, tl.minimum(across, (split + 1) * each)):
        kind = tl.load(classes + d * across + a).to(tl.int32)
        at = tl.multiple_of(tl.load(offsets + d * across + a), 16)
        size = tl.load(counts + kind)
        words = table + kind * WORDS
        cols = TILE_IN if FULL else tl.minimum(TILE_IN, in_features - a * TILE_IN)
        start = x + token * in_features + a * TILE_IN
        part = tl.zeros((ROWS,), tl.int32 if WHOLE else tl.float32)
        first = 0
        if size <= 9:
            first = rows // 5 * 5
            codes = _five_codes(packed, at, r, j, rows // 5, cols, power)
            values = tl.load(words + codes, mask=(r < first) & (j < cols), other=0.0)
            inputs = tl.load(start + j, mask=j < cols, other=0)
            if WHOLE:
                part += tl.sum(values.to(tl.int32) * inputs.to(tl.int32), axis=1)
            else:
                part += tl.sum(values * inputs.to(tl.float32), axis=1)
            at += rows // 5 * cols * 2
        if size > 16:
            here = (r < rows) & (j < cols)
            codes = tl.load(packed + at + r * cols + j, mask=here, other=0).to(tl.int32)
            values = tl.load(words + codes, mask=here, other=0.0)
            inputs = tl.load(start + j, mask=j < cols, other=0)
            if WHOLE:
                part += tl.sum(values.to(tl.int32) * inputs.to(tl.int32), axis=1)
            else:
                part += tl.sum(values * inputs.to(tl.float32), axis=1)
        elif first < rows:
            even, odd = _half_codes(packed, at, r, h, rows, cols, first)
            rest = (r >= first) & (r < rows)
            low = tl.load(words + even, mask=rest, other=0.0)
            high = tl.load(words + odd, mask=rest, other=0.0)
            x_low = tl.load(start + 2 * h, mask=2 * h < cols, other=0)
            x_high = tl.load(start + 2 * h + 1, mask=2 * h + 1 < cols, other=0)
            if WHOLE:
                part += tl.sum(low.to(tl.int32) * x_low.to(tl.int32) + high.to(tl.int32) * x_high.to(tl.int32), axis=1)
            else:
                part += tl.sum(low * x_low.to(tl.float32) + high * x_high.to(tl.float32), axis=1)
        if WHOLE:
            total += part
        else:
            factor = tl.load(scale + row * across + a, mask=inside, other=0.0).to(tl.float32)
            total += part * factor
    place = (token * splits + split) * out_features + row
    tl.store(y + place, total, mask=inside)


@triton.jit
@no_type_check
def gather_kernel(
    parts, x, row_ptr, col, value, sparse_scale, y, out_features, in_features, splits,
    SPARSE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """y[token, out] = the sum of the splits, in order, plus the sparse row: one program per output and token."""
    row = tl.program_id(0)
    token = tl.program_id(1)
    total = tl.zeros((), tl.float32)
    for split in range(splits):
        total += tl.load(parts + (token * splits + split) * out_features + row)
    if SPARSE:
        begin = tl.load(row_ptr + row)
        end = tl.load(row_ptr + row + 1)
        sums = tl.zeros((BLOCK,), tl.float32)
        for i in range(begin, end, BLOCK):
            place = i + tl.arange(0, BLOCK)
            column = tl.load(col + place, mask=place < end, other=0).to(tl.int32)
            if not WIDE:
                column = column & 65535
            weight = tl.load(value + place, mask=place < end, other=0).to(tl.float32)
            sums += weight * tl.load(x + token * in_features + column, mask=place < end, other=0.0).to(tl.float32)
        total += tl.sum(sums, axis=0) * tl.load(sparse_scale + row).to(tl.float32)
    tl.store(y + token * out_features + row, total.to(y.dtype.element_ty))


@triton.autotune(_ways(_GEMM_WAYS), ["out_features", "in_features", "BLOCK", "WHOLE"], prune_configs_by=PRUNE)
@triton.jit
@no_type_check
def gemm_kernel(
    x, packed, scale, classes, offsets, table, counts, y, tokens,
    out_features, in_features, across,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, COLS: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    BLOCK: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """y[tokens, out] = x W^T, a block of tokens and a row of tiles to each program; products in the type of x.

    With WHOLE, x is int8 and a tile's sum an int32, scaled and added in the order of the tiles.
    """
    m = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)[:, None]
    blocks = tl.cdiv(TILE_OUT, ROWS)
    d = tl.program_id(1) // blocks
    block = tl.program_id(1) % blocks * ROWS
    r = block + tl.arange(0, ROWS)[:, None]
    j = tl.arange(0, COLS)[None, :]
    h = tl.arange(0, COLS // 2)[None, :]
    rows = tl.minimum(TILE_OUT, out_features - d * TILE_OUT)
    row = d * TILE_OUT + block + tl.arange(0, ROWS)
    inside = block + tl.arange(0, ROWS) < rows
    power = _powers(r)
    total = tl.zeros((BLOCK, ROWS), tl.float32)
    for a in range(across):
        kind = tl.load(classes + d * across + a).to(tl.int32)
        at = tl.multiple_of(tl.load(offsets + d * across + a), 16)
        size = tl.load(counts + kind)
        words = table + kind * WORDS
        cols = TILE_IN if FULL else tl.minimum(TILE_IN, in_features - a * TILE_IN)
        codes = tl.zeros((ROWS, COLS), tl.int32)
        first = 0
        if size <= 9:
            first = rows // 5 * 5
            codes += _five_codes(packed, at, r, j, rows // 5, cols, power)
            at += rows // 5 * cols * 2
        if size > 16:
            codes += tl.load(packed + at + r * cols + j, mask=(r < rows) & (j < cols), other=0).to(tl.int32)
        elif first < rows:
            even, odd = _half_codes(packed, at, r, h, rows, cols, first)
            codes += tl.interleave(even, odd)
        weight = tl.load(words + codes, mask=(r < rows) & (j < cols), other=0.0)
        inputs = tl.load(x + m * in_features + a * TILE_IN + j, mask=(m < tokens) & (j < cols), other=0.0)
        factor = tl.load(scale + row * across + a, mask=inside, other=0.0).to(tl.float32)
        if WHOLE:
            product = tl.dot(inputs, tl.trans(weight.to(tl.int8)), out_dtype=tl.int32).to(tl.float32)
        else:
            product = tl.dot(inputs, tl.trans(weight).to(inputs.dtype), input_precision="ieee")
        total += product * factor[None, :]
    place = y + m * out_features + row[None, :]
    here = (m < tokens) & inside[None, :]
    tl.store(place, total.to(y.dtype.element_ty), mask=here)
