"""Decode in Triton: matrix-vector products of one or a few tokens from packed codes, in integers.

Codes are converted to words in registers, which also hold the tile's codebook (see `word_decoding`); weights are never
written to memory. Only a codebook of more than 16 words is looked up in memory. Each program computes one block of rows
within one row of tiles.

Words and inputs are multiplied four at a time (DP4A), which takes fewer instructions than float products. Inputs that
are not int8 are converted to three int8 digits first (see `activation_digits`).
"""

# Triton's language is not Python's, and has no types:
# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportGeneralTypeIssues=false

from typing import no_type_check

import triton
import triton.language as tl

from haloquant.kernels.triton.tuning import PRUNE, configurations
from haloquant.kernels.triton.word_decoding import dot, dot_four, fives, sixteen

_CHOICES = [(64, 1), (128, 2), (128, 4), (64, 2), (128, 1), (32, 1), (32, 2), (16, 1)]  # rows, warps


@triton.jit
@no_type_check
def _nibbles(packed, at, r, e, rows, cols, TILE_IN: tl.constexpr, ALIGNED: tl.constexpr):
    """Load 16 nibbles of each row, as int64."""
    here = (r < rows) & (16 * e < cols)
    if ALIGNED:
        words = (packed + at).to(tl.pointer_type(tl.int64))
        return tl.load(words + (r * (TILE_IN // 16) + e), mask=here, other=0)
    else:
        width = (cols + 1) // 2
        place = packed + at + r * width + e * 8
        word = tl.zeros(here.shape, tl.int64)
        for b in tl.static_range(8):
            word |= tl.load(place + b, mask=here & (e * 8 + b < width), other=0).to(tl.int64) << (8 * b)
        return word


@triton.jit
@no_type_check
def _fractions(packed, at, g, e, groups, cols, TILE_IN: tl.constexpr, ALIGNED: tl.constexpr):
    """Load four columns of groups of five rows in base 9, 16 bits each, as int64."""
    here = (g < groups) & (4 * e < cols)
    if ALIGNED:
        words = (packed + at).to(tl.pointer_type(tl.int64))
        return tl.load(words + (g * (TILE_IN // 4) + e), mask=here, other=0)
    else:
        pairs = (packed + at).to(tl.pointer_type(tl.uint16))  # tiles start at multiples of 16 bytes
        word = tl.zeros(here.shape, tl.int64)
        for c in tl.static_range(4):
            column = 4 * e + c
            pair = tl.load(pairs + g * cols + column, mask=here & (column < cols), other=0)
            word |= pair.to(tl.int64) << (16 * c)
        return word


@triton.jit
@no_type_check
def _words_in_memory(packed, at, r, e, rows, cols, words, FIRST: tl.constexpr):
    """Look up four int8 words in memory, for a codebook of more than 16 words, where codes are bytes."""
    four = tl.zeros((r + e).shape, tl.int32)
    for c in tl.static_range(4):
        column = 16 * e + FIRST + c
        here = (r < rows) & (column < cols)
        code = tl.load(packed + at + r * cols + column, mask=here, other=0).to(tl.int32)
        four |= tl.load(words + code, mask=here, other=0).to(tl.int32) << (8 * c)
    return four


@triton.jit
@no_type_check
def _joined(s0, s1, s2, scale, here, step, WIDE: tl.constexpr):
    """Combine the sums of three digits to float32, times the scale of their row and the step of the inputs."""
    factor = tl.load(scale, mask=here, other=0.0).to(tl.float32) * step
    if WIDE <= 1024:  # noqa: SIM108 - Triton decides this at compile time
        low = (s1 * 256 + s0).to(tl.float32)
    else:  # the integer sum could exceed 32 bits
        low = s1.to(tl.float32) * 256.0 + s0.to(tl.float32)
    return (s2.to(tl.float32) * 65536.0 + low) * factor[:, None]


@triton.jit
@no_type_check
def _dots(w0, w1, w2, w3, w4, inputs, s0, s1, s2, s3, s4):
    """Add four inputs times the words of five rows to five sums."""
    inputs = tl.load(inputs)
    return (
        dot_four(w0, inputs, s0),
        dot_four(w1, inputs, s1),
        dot_four(w2, inputs, s2),
        dot_four(w3, inputs, s3),
        dot_four(w4, inputs, s4),
    )


@triton.jit
@no_type_check
def _digits(w0, w1, w2, w3, x, plane, e, s0, s1, s2, INT8: tl.constexpr):
    """Add the 16 words of lane e times each digit of its inputs to the digit's sum; with INT8 there is one digit."""
    at = x.to(tl.pointer_type(tl.int64)) + 2 * e
    s0 = dot(w0, w1, w2, w3, tl.load(at), tl.load(at + 1), s0)
    if not INT8:
        at = (x + plane).to(tl.pointer_type(tl.int64)) + 2 * e
        s1 = dot(w0, w1, w2, w3, tl.load(at), tl.load(at + 1), s1)
        at = (x + 2 * plane).to(tl.pointer_type(tl.int64)) + 2 * e
        s2 = dot(w0, w1, w2, w3, tl.load(at), tl.load(at + 1), s2)
    return s0, s1, s2


@triton.autotune(
    configurations(_CHOICES), ["out_features", "in_features", "NINE", "SIXTEEN", "INT8"], prune_configs_by=PRUNE
)
@triton.jit
@no_type_check
def gemv_kernel(
    planes, steps, packed, scale, classes, offsets, words, counts, y,
    out_features, in_features, across, each, splits,
    TILE_OUT: tl.constexpr, TILE_IN: tl.constexpr, WIDE: tl.constexpr, WORDS: tl.constexpr, FULL: tl.constexpr,
    NINE: tl.constexpr, SIXTEEN: tl.constexpr, MORE: tl.constexpr, INT8: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Compute y[token, split, out] = sum over the tiles of a split of scale * (sum of word * x).

    The tiles of a row are divided into `splits` of `each` tiles. With INT8, x is int8, each split is one tile, and y
    holds its int32 sums without scale. FULL means that every tile has TILE_IN inputs. NINE, SIXTEEN and MORE mean that
    there are codebooks of up to 9, of 10 to 16, and of more than 16 words. With NINE and without INT8, tiles in base 9
    write their partial sums to a second plane: y is [token, split, 2, out].
    """
    LANES: tl.constexpr = 4 if WIDE >= 64 else WIDE // 16
    LANES_NINE: tl.constexpr = 8 if WIDE >= 32 else WIDE // 4
    LANES_LEFT: tl.constexpr = 8 if WIDE % 128 == 0 else LANES
    GROUPS: tl.constexpr = ROWS // 4  # groups of five rows; at least as many as a block has
    APART: tl.constexpr = NINE and not INT8
    blocks = tl.cdiv(TILE_OUT, ROWS)
    d = tl.program_id(0) // blocks
    block = tl.program_id(0) % blocks
    split = tl.program_id(1)
    token = tl.program_id(2)
    r = block * ROWS + tl.arange(0, ROWS)
    g = block * GROUPS + tl.arange(0, GROUPS)
    rows = tl.minimum(TILE_OUT, out_features - d * TILE_OUT)
    total = tl.zeros((ROWS, LANES), tl.int32 if INT8 else tl.float32)
    t0 = tl.zeros((GROUPS, LANES_NINE), tl.int32 if INT8 else tl.float32)
    t1, t2, t3, t4 = t0, t0, t0, t0
    t5 = tl.zeros((4, LANES_LEFT), tl.int32 if INT8 else tl.float32)
    first = rows // 5 * 5  # in a tile in base 9, rows from here on are stored in nibbles
    tail = first + tl.arange(0, 4)
    size = 16
    plane = across * WIDE  # distance between two digits
    stored = planes + token.to(tl.int64) * (plane if INT8 else 3 * plane)
    for a in range(split * each, tl.minimum(across, (split + 1) * each)):
        kind = tl.load(classes + d * across + a).to(tl.int32)
        at = tl.multiple_of(tl.load(offsets + d * across + a), 16)
        book = words + kind * WORDS
        low = tl.load(book.to(tl.pointer_type(tl.int64)))
        high = tl.load(book.to(tl.pointer_type(tl.int64)) + 1)
        cols = TILE_IN if FULL else tl.minimum(TILE_IN, in_features - a * TILE_IN)
        x = stored + a * WIDE
        step = 1.0
        if not INT8:
            step = tl.load(steps + token * across + a)
        if NINE or MORE:
            size = tl.load(counts + kind)
        if NINE:  # noqa: SIM102 - the outer condition is known at compile time, the inner one at run time
            if size <= 9:
                if block * GROUPS * 5 < first:
                    last = (high & 255).to(tl.int32) * 0x01010101
                    a0 = tl.zeros((GROUPS, LANES_NINE), tl.int32)
                    a1, a2, a3, a4 = a0, a0, a0, a0
                    b0, b1, b2, b3, b4 = a0, a0, a0, a0, a0
                    c0, c1, c2, c3, c4 = a0, a0, a0, a0, a0
                    for i in range(WIDE // 4 // LANES_NINE):
                        e = i * LANES_NINE + tl.arange(0, LANES_NINE)[None, :]
                        f = _fractions(packed, at, g[:, None], e, rows // 5, cols, TILE_IN, FULL and TILE_IN % 4 == 0)
                        w0, w1, w2, w3, w4 = fives(f, low, last)
                        at_x = x.to(tl.pointer_type(tl.int32)) + e
                        a0, a1, a2, a3, a4 = _dots(w0, w1, w2, w3, w4, at_x, a0, a1, a2, a3, a4)
                        if not INT8:
                            at_x = (x + plane).to(tl.pointer_type(tl.int32)) + e
                            b0, b1, b2, b3, b4 = _dots(w0, w1, w2, w3, w4, at_x, b0, b1, b2, b3, b4)
                            at_x = (x + 2 * plane).to(tl.pointer_type(tl.int32)) + e
                            c0, c1, c2, c3, c4 = _dots(w0, w1, w2, w3, w4, at_x, c0, c1, c2, c3, c4)
                    if INT8:
                        t0, t1, t2, t3, t4 = a0, a1, a2, a3, a4
                    else:
                        factor = scale + (d * TILE_OUT + g * 5) * across + a
                        here = g * 5 < first
                        t0 += _joined(a0, b0, c0, factor, here, step, WIDE)
                        t1 += _joined(a1, b1, c1, factor + across, here, step, WIDE)
                        t2 += _joined(a2, b2, c2, factor + 2 * across, here, step, WIDE)
                        t3 += _joined(a3, b3, c3, factor + 3 * across, here, step, WIDE)
                        t4 += _joined(a4, b4, c4, factor + 4 * across, here, step, WIDE)
                if (block == blocks - 1) & (first < rows):
                    s0 = tl.zeros((4, LANES_LEFT), tl.int32)
                    s1, s2 = s0, s0
                    for i in range(WIDE // 16 // LANES_LEFT):
                        e = i * LANES_LEFT + tl.arange(0, LANES_LEFT)[None, :]
                        q = _nibbles(packed, at + first // 5 * cols * 2, tail[:, None] - first, e, rows - first, cols,
                                     TILE_IN, FULL and TILE_IN % 16 == 0)  # fmt: skip
                        w0, w1, w2, w3 = sixteen(q, low, high)
                        s0, s1, s2 = _digits(w0, w1, w2, w3, x, plane, e, s0, s1, s2, INT8)
                    if INT8:
                        t5 = s0
                    else:
                        factor = scale + (d * TILE_OUT + tail) * across + a
                        t5 += _joined(s0, s1, s2, factor, tail < rows, step, WIDE)
        if (SIXTEEN or MORE) and (not NINE or size > 9):
            s0 = tl.zeros((ROWS, LANES), tl.int32)
            s1, s2 = s0, s0
            for i in range(WIDE // 16 // LANES):
                e = i * LANES + tl.arange(0, LANES)[None, :]
                q = _nibbles(packed, at, r[:, None], e, rows, cols, TILE_IN, FULL and TILE_IN % 16 == 0)
                w0, w1, w2, w3 = sixteen(q, low, high)
                if MORE:  # noqa: SIM102
                    if size > 16:
                        w0 = _words_in_memory(packed, at, r[:, None], e, rows, cols, book, 0)
                        w1 = _words_in_memory(packed, at, r[:, None], e, rows, cols, book, 4)
                        w2 = _words_in_memory(packed, at, r[:, None], e, rows, cols, book, 8)
                        w3 = _words_in_memory(packed, at, r[:, None], e, rows, cols, book, 12)
                s0, s1, s2 = _digits(w0, w1, w2, w3, x, plane, e, s0, s1, s2, INT8)
            if INT8:
                total = s0
            else:
                total += _joined(s0, s1, s2, scale + (d * TILE_OUT + r) * across + a, r < rows, step, WIDE)
    place = y + (token * splits + split) * out_features * (2 if APART else 1) + d * TILE_OUT
    if APART:
        tl.store(place + r, tl.sum(total, axis=1), mask=r < rows)
        place += out_features
    elif NINE:  # one tile: either all its rows are in base 9 or none
        tl.store(place + r, tl.sum(total, axis=1), mask=r < tl.where(size > 9, rows, 0))
    else:
        tl.store(place + r, tl.sum(total, axis=1), mask=r < rows)
    if NINE:
        most = rows
        if INT8:
            most = tl.where(size > 9, 0, rows)
        left = tl.minimum(first, most) - g * 5
        tl.store(place + g * 5, tl.sum(t0, axis=1), mask=left > 0)
        tl.store(place + g * 5 + 1, tl.sum(t1, axis=1), mask=left > 1)
        tl.store(place + g * 5 + 2, tl.sum(t2, axis=1), mask=left > 2)
        tl.store(place + g * 5 + 3, tl.sum(t3, axis=1), mask=left > 3)
        tl.store(place + g * 5 + 4, tl.sum(t4, axis=1), mask=left > 4)
        if block == blocks - 1:
            tl.store(place + tail, tl.sum(t5, axis=1), mask=tail < most)


@triton.jit
@no_type_check
def gather_kernel(
    parts, x, row_ptr, col, value, sparse_scale, y, out_features, in_features, splits,
    SPARSE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute y[token, out]: the sum of the splits, in order, plus the sparse row. One program per output and token."""
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
