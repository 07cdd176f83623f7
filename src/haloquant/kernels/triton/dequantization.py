"""Dequantize packed weights in Triton, for products of many tokens, and scale the integer sums of tiles.

The cost of decoding does not depend on the number of tokens. So with more than a few tokens it is cheaper to write a
block of weights once and to multiply with the vendor's library.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl

from haloquant.kernels.triton.tuning import PRUNE, configurations
from haloquant.kernels.triton.word_decoding import words_of

_CHOICES = [(32, 4), (16, 4), (64, 4), (64, 8), (128, 8)]  # rows, warps


@triton.jit
@no_type_check
def half_codes(packed, at, r, h, rows, cols, first):
    """Return the codes of the even and of the odd inputs, [rows, inputs / 2], of rows in nibbles, from row `first`."""
    place = at + (r - first) * ((cols + 1) // 2) + h
    here = (r >= first) & (r < rows) & (h < (cols + 1) // 2)  # equals 2 h < cols, in a form that Triton can vectorize
    pair = tl.load(packed + place, mask=here, other=0)
    return pair & 15, pair >> 4


@triton.jit
@no_type_check
def five_codes(packed, at, r, j, groups, cols, power):
    """Return the codes [rows, inputs] of rows in base 9: digit k is the integer part of 9 * frac(9^k * fraction)."""
    pairs = (packed + at).to(tl.pointer_type(tl.uint16))  # tiles start at multiples of 16 bytes
    here = (r < groups * 5) & (j < cols)
    fraction = tl.load(pairs + (r // 5 * cols + j), mask=here, other=0).to(tl.int32)
    rest = (fraction * power) & 65535
    return ((rest * 9) >> 16).to(tl.uint8)


@triton.jit
@no_type_check
def powers(r):
    """Return 9 to the power of the row's position in its group of five."""
    k = r % 5
    return tl.where(k == 0, 1, tl.where(k == 1, 9, tl.where(k == 2, 81, tl.where(k == 3, 729, 6561))))


@triton.autotune(configurations(_CHOICES), ["out_features", "in_features", "NINE", "SIXTEEN"], prune_configs_by=PRUNE)
@triton.jit
@no_type_check
def dequantize_kernel(
    packed, scale, classes, offsets, words, counts, weight,
    out_features, in_features, across, down_first,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, COLS: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    NINE: tl.constexpr, SIXTEEN: tl.constexpr, MORE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Compute weight[out, in] = word * scale, for the rows of tiles from `down_first` on.

    Each program takes a block of rows of one tile. `weight` begins with the first row of the row of tiles `down_first`.
    The compile-time arguments are as in `gemv_kernel`.
    """
    blocks = tl.cdiv(TILE_OUT, ROWS)
    below = tl.program_id(0) // blocks
    d = down_first + below
    a = tl.program_id(1)
    r = tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)[:, None]
    j = tl.arange(0, COLS)[None, :]
    h = tl.arange(0, COLS // 2)[None, :]
    rows = tl.minimum(TILE_OUT, out_features - d * TILE_OUT)
    cols = TILE_IN if FULL else tl.minimum(TILE_IN, in_features - a * TILE_IN)
    kind = tl.load(classes + d * across + a).to(tl.int32)
    at = tl.multiple_of(tl.load(offsets + d * across + a), 16)
    book = (words + kind * WORDS).to(tl.pointer_type(tl.int64))
    size = 16
    if NINE or MORE:
        size = tl.load(counts + kind)
    codes = tl.zeros((ROWS, COLS), tl.uint8)
    first = 0
    here = (r < rows) & (j < cols)
    if NINE:  # noqa: SIM102 - the outer condition is known at compile time, the inner one at run time
        if size <= 9:
            first = rows // 5 * 5
            codes += five_codes(packed, at, r, j, rows // 5, cols, powers(r))
            at += rows // 5 * cols * 2
    if (size <= 16) & (first < rows):
        even, odd = half_codes(packed, at, r, h, rows, cols, first)
        codes += tl.interleave(even, odd)
    value = words_of(codes, tl.load(book), tl.load(book + 1)).to(tl.float32)
    if MORE:  # noqa: SIM102
        if size > 16:  # too many words for the registers
            wide = tl.load(packed + at + r * cols + j, mask=here, other=0).to(tl.int32)
            found = tl.load(words + kind * WORDS + wide, mask=here, other=0)
            value = found.to(tl.int8, bitcast=True).to(tl.float32)
    row = d * TILE_OUT + r
    factor = tl.load(scale + row * across + a, mask=r < rows, other=0.0).to(tl.float32)
    place = weight + (below * TILE_OUT + r).to(tl.int64) * in_features + a * TILE_IN + j
    tl.store(place, (value * factor).to(weight.dtype.element_ty), mask=here)


@triton.jit
@no_type_check
def add_sparse_kernel(
    row_ptr, col, value, sparse_scale, weight, in_features, first_row,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add value * scale of the sparse part to weight[out, in]. One program per row, whose columns are distinct."""
    row = tl.program_id(0)
    begin = tl.load(row_ptr + first_row + row)
    end = tl.load(row_ptr + first_row + row + 1)
    factor = tl.load(sparse_scale + first_row + row).to(tl.float32)
    for i in range(begin, end, BLOCK):
        place = i + tl.arange(0, BLOCK)
        here = place < end
        column = tl.load(col + place, mask=here, other=0).to(tl.int32)
        if not WIDE:
            column = column & 65535
        at = weight + row.to(tl.int64) * in_features + column
        added = tl.load(value + place, mask=here, other=0).to(tl.float32) * factor
        total = tl.load(at, mask=here, other=0.0).to(tl.float32) + added
        tl.store(at, total.to(weight.dtype.element_ty), mask=here)


@triton.jit
@no_type_check
def scale_tile_sums_kernel(
    sums, scale, y, out_features, across, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute y[token, out]: int32 tile sums [token, across, out] times the tile's scale, added in tile order.

    Every product and every sum is rounded to float32, as in the accelerator. So the launch must not fuse them.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    token = tl.program_id(1)
    here = row < out_features
    total = tl.zeros((BLOCK,), tl.float32)
    for a in range(across):
        tile = tl.load(sums + (token * across + a) * out_features + row, mask=here, other=0).to(tl.float32)
        total += tile * tl.load(scale + row * across + a, mask=here, other=0.0).to(tl.float32)
    tl.store(y + token * out_features + row, total, mask=here)
