"""Products of many int8 tokens in Triton, in the accelerator's arithmetic, on tensor cores.

The int32 sum of each tile is scaled in float32 and added in the order of the tiles. Codes are converted to words in
registers, which also hold the tile's codebook (see `word_decoding`). Only a codebook of more than 16 words is looked up
in memory.
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl

from haloquant.kernels.triton.dequantization import five_codes, half_codes, powers
from haloquant.kernels.triton.tuning import PRUNE, configurations
from haloquant.kernels.triton.word_decoding import words_of

_CHOICES = [(64, 8), (64, 4), (32, 4), (128, 4), (128, 8)]  # rows, warps


@triton.autotune(configurations(_CHOICES), ["out_features", "in_features", "BLOCK", "NINE"], prune_configs_by=PRUNE)
@triton.jit
@no_type_check
def gemm_kernel(
    x, packed, scale, classes, offsets, words, counts, y, tokens,
    out_features, in_features, across,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, COLS: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    NINE: tl.constexpr, MORE: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Compute y[tokens, out] = sum over tiles of scale * (int8 x times int8 words).

    Each program takes a block of tokens and a block of rows. The compile-time arguments are as in `gemv_kernel`.
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
    power = powers(r)
    total = tl.zeros((BLOCK, ROWS), tl.float32)
    for a in range(across):
        kind = tl.load(classes + d * across + a).to(tl.int32)
        at = tl.multiple_of(tl.load(offsets + d * across + a), 16)
        book = (words + kind * WORDS).to(tl.pointer_type(tl.int64))
        cols = TILE_IN if FULL else tl.minimum(TILE_IN, in_features - a * TILE_IN)
        size = 16
        if NINE or MORE:
            size = tl.load(counts + kind)
        codes = tl.zeros((ROWS, COLS), tl.uint8)
        first = 0
        if NINE:  # noqa: SIM102 - the outer condition is known at compile time, the inner one at run time
            if size <= 9:
                first = rows // 5 * 5
                codes += five_codes(packed, at, r, j, rows // 5, cols, power)
                at += rows // 5 * cols * 2
        if (size <= 16) & (first < rows) & (block + ROWS > first):
            even, odd = half_codes(packed, at, r, h, rows, cols, first)
            codes += tl.interleave(even, odd)
        weight = words_of(codes, tl.load(book), tl.load(book + 1))
        if MORE:  # noqa: SIM102
            if size > 16:  # too many words for the registers
                here = (r < rows) & (j < cols)
                wide = tl.load(packed + at + r * cols + j, mask=here, other=0).to(tl.int32)
                places = words + kind * WORDS + wide
                weight = tl.load(places, mask=here, other=0).to(tl.int8, bitcast=True)
        inputs = tl.load(x + m * in_features + a * TILE_IN + j, mask=(m < tokens) & (j < cols), other=0)
        factor = tl.load(scale + row * across + a, mask=inside, other=0.0).to(tl.float32)
        product = tl.dot(inputs, tl.trans(weight), out_dtype=tl.int32).to(tl.float32)
        total += product * factor[None, :]
    place = y + m * out_features + row[None, :]
    here = (m < tokens) & inside[None, :]
    tl.store(place, total, mask=here)
