"""Prefill in Triton: many tokens, as products of the type of the inputs on tensor units.

Codes become words in registers, out of the tile's codebook, which lies in registers too (`gpu_words`). Only a codebook
of more than 16 words is looked up in memory.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl

from haloquant.kernels.triton.tuning import PRUNE, ways
from haloquant.kernels.triton.word_decoding import ASSEMBLY, halves_of, words_of

_WAYS = [(64, 8), (64, 4), (32, 4), (128, 4), (128, 8)]  # rows, warps


@triton.jit
@no_type_check
def _half_codes(packed, at, r, h, rows, cols, first):
    """Codes of the even and of the odd inputs [rows, inputs / 2] of rows in nibbles, from row `first` on."""
    place = at + (r - first) * ((cols + 1) // 2) + h
    here = (r >= first) & (r < rows) & (h < (cols + 1) // 2)  # as 2 h < cols, but seen to hold for whole vectors
    pair = tl.load(packed + place, mask=here, other=0)
    return pair & 15, pair >> 4


@triton.jit
@no_type_check
def _five_codes(packed, at, r, j, groups, cols, power):
    """Codes [rows, inputs] of rows in base 9: fraction * 9^k without its whole part, times 9, is the k-th digit."""
    pairs = (packed + at).to(tl.pointer_type(tl.uint16))  # tiles start at multiples of 16 bytes
    here = (r < groups * 5) & (j < cols)
    fraction = tl.load(pairs + (r // 5 * cols + j), mask=here, other=0).to(tl.int32)
    rest = (fraction * power) & 65535
    return ((rest * 9) >> 16).to(tl.uint8)


@triton.jit
@no_type_check
def _powers(r):
    """9 to the power of the row's place in its group of five."""
    k = r % 5
    return tl.where(k == 0, 1, tl.where(k == 1, 9, tl.where(k == 2, 81, tl.where(k == 3, 729, 6561))))


@triton.autotune(ways(_WAYS), ["out_features", "in_features", "BLOCK", "WHOLE"], prune_configs_by=PRUNE)
@triton.jit
@no_type_check
def gemm_kernel(
    x, packed, scale, classes, offsets, words, counts, y, tokens,
    out_features, in_features, across,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, COLS: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    NINE: tl.constexpr, MORE: tl.constexpr, BLOCK: tl.constexpr, WHOLE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """y[tokens, out] = x W^T, a block of tokens and a row of tiles to each program; products in the type of x.

    With WHOLE, x is int8 and a tile's sum an int32, scaled and added in the order of the tiles. The other sizes are as
    in `gemv_kernel`.
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
    HALF: tl.constexpr = x.dtype.element_ty == tl.bfloat16
    for a in range(across):
        kind = tl.load(classes + d * across + a).to(tl.int32)
        at = tl.multiple_of(tl.load(offsets + d * across + a), 16)
        book = (words + kind * (3 * WORDS)).to(tl.pointer_type(tl.int64))
        cols = TILE_IN if FULL else tl.minimum(TILE_IN, in_features - a * TILE_IN)
        size = 16
        if NINE or MORE:
            size = tl.load(counts + kind)
        codes = tl.zeros((ROWS, COLS), tl.uint8)
        first = 0
        if NINE:  # noqa: SIM102 - the outer choice is made while Triton compiles, the inner one as it runs
            if size <= 9:
                first = rows // 5 * 5
                codes += _five_codes(packed, at, r, j, rows // 5, cols, power)
                at += rows // 5 * cols * 2
        if (size <= 16) & (first < rows) & (block + ROWS > first):
            even, odd = _half_codes(packed, at, r, h, rows, cols, first)
            codes += tl.interleave(even, odd)
        if HALF:
            weight = halves_of(codes, tl.load(book + WORDS // 8), tl.load(book + WORDS // 8 + 1),
                               tl.load(book + WORDS // 4), tl.load(book + WORDS // 4 + 1))  # fmt: skip
        else:
            weight = words_of(codes, tl.load(book), tl.load(book + 1)).to(x.dtype.element_ty)
        if MORE:  # noqa: SIM102
            if size > 16:  # no registers hold so many words
                here = (r < rows) & (j < cols)
                wide = tl.load(packed + at + r * cols + j, mask=here, other=0).to(tl.int32)
                places = words + kind * (3 * WORDS) + wide
                value = tl.load(places, mask=here, other=0).to(tl.int8, bitcast=True)
                weight = value.to(tl.float32).to(x.dtype.element_ty)
        inputs = tl.load(x + m * in_features + a * TILE_IN + j, mask=(m < tokens) & (j < cols), other=0.0)
        factor = tl.load(scale + row * across + a, mask=inside, other=0.0).to(tl.float32)
        if WHOLE:
            product = tl.dot(inputs, tl.trans(weight), out_dtype=tl.int32).to(tl.float32)
        elif ASSEMBLY:
            product = tl.dot(inputs, tl.trans(weight), input_precision="ieee")
        else:  # the interpreter's own product takes the bits of a bfloat16 for a whole number
            product = tl.dot(inputs.to(tl.float32), tl.trans(weight.to(tl.float32)), input_precision="ieee")
        total += product * factor[None, :]
    place = y + m * out_features + row[None, :]
    here = (m < tokens) & inside[None, :]
    tl.store(place, total.to(y.dtype.element_ty), mask=here)
