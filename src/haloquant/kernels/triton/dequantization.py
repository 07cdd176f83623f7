"""Packed codes to weights in Triton, for products of many tokens.

Decoding costs the same for any number of tokens, so from a few tokens on it is cheaper to write a block of weights once
and to leave the product to the vendor's library.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl

from haloquant.kernels.triton.tuning import PRUNE, ways
from haloquant.kernels.triton.word_decoding import words_of

_WAYS = [(32, 4), (16, 4), (64, 4), (64, 8), (128, 8)]  # rows, warps


@triton.jit
@no_type_check
def half_codes(packed, at, r, h, rows, cols, first):
    """Codes of the even and of the odd inputs [rows, inputs / 2] of rows in nibbles, from row `first` on."""
    place = at + (r - first) * ((cols + 1) // 2) + h
    here = (r >= first) & (r < rows) & (h < (cols + 1) // 2)  # as 2 h < cols, but seen to hold for whole vectors
    pair = tl.load(packed + place, mask=here, other=0)
    return pair & 15, pair >> 4


@triton.jit
@no_type_check
def five_codes(packed, at, r, j, groups, cols, power):
    """Codes [rows, inputs] of rows in base 9: fraction * 9^k without its whole part, times 9, is the k-th digit."""
    pairs = (packed + at).to(tl.pointer_type(tl.uint16))  # tiles start at multiples of 16 bytes
    here = (r < groups * 5) & (j < cols)
    fraction = tl.load(pairs + (r // 5 * cols + j), mask=here, other=0).to(tl.int32)
    rest = (fraction * power) & 65535
    return ((rest * 9) >> 16).to(tl.uint8)


@triton.jit
@no_type_check
def powers(r):
    """9 to the power of the row's place in its group of five."""
    k = r % 5
    return tl.where(k == 0, 1, tl.where(k == 1, 9, tl.where(k == 2, 81, tl.where(k == 3, 729, 6561))))


@triton.autotune(ways(_WAYS), ["out_features", "in_features", "NINE", "SIXTEEN"], prune_configs_by=PRUNE)
@triton.jit
@no_type_check
def dequantize_kernel(
    packed, scale, classes, offsets, words, counts, weight,
    out_features, in_features, across, down_first,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, COLS: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    NINE: tl.constexpr, SIXTEEN: tl.constexpr, MORE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """weight[out, in] = word * scale for the rows of tiles from `down_first` on: a block of rows of one tile a program.

    `weight` begins with the first row of that row of tiles. The other sizes are as in `gemv_kernel`.
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
    if NINE:  # noqa: SIM102 - the outer choice is made while Triton compiles, the inner one as it runs
        if size <= 9:
            first = rows // 5 * 5
            codes += five_codes(packed, at, r, j, rows // 5, cols, powers(r))
            at += rows // 5 * cols * 2
    if (size <= 16) & (first < rows):
        even, odd = half_codes(packed, at, r, h, rows, cols, first)
        codes += tl.interleave(even, odd)
    value = words_of(codes, tl.load(book), tl.load(book + 1)).to(tl.float32)
    if MORE:  # noqa: SIM102
        if size > 16:  # no registers hold so many words
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
    """weight[out, in] += value * scale of the sparse part: one program per row. A row's columns are distinct."""
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
    """y[token, out] = the int32 sums [token, across, out] times their tile's scale, added in the order of the tiles.

    Every product and every sum is rounded to float32, as the accelerator rounds: the launch must not fuse them.
    """
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    token = tl.program_id(1)
    here = row < out_features
    total = tl.zeros((BLOCK,), tl.float32)
    for a in range(across):
        tile = tl.load(sums + (token * across + a) * out_features + row, mask=here, other=0).to(tl.float32)
        total += tile * tl.load(scale + row * across + a, mask=here, other=0.0).to(tl.float32)
    tl.store(y + token * out_features + row, total, mask=here)
