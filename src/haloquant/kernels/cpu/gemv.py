"""Products of one token directly from packed codes with AVX-512, in float32 or int8, and dequantized weights.

Each thread takes a row of tiles, so packed bytes are read once and in order. Whole tiles with 128 inputs use AVX-512.
Narrower ones at the border use the vector code of `tile_products` where their inputs fill its vectors. All others use
plain loops, with which the tests compare the vector code. `tile_products` serves other CPUs, other tiles, and integers
of several tokens or without VNNI.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from haloquant.kernels.cpu import (
    instruction_set,
    integer_instructions,
    plain_loops,
    tile_instructions,
    tile_products,
    vector_instructions,
    vector_operations,
)
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.kernels.cpu.plain_loops import add_sparse, add_sparse_integers, half, tile_in_loops
from haloquant.kernels.cpu.tile_instructions import SPARE, TABLES
from haloquant.kernels.cpu.tile_products import CHUNK, float_inputs, float_tile, tables_of_words
from haloquant.kernels.cpu.vector_operations import ask_for
from haloquant.source_code import follow

FAST = INSTRUCTION_SET.startswith("avx512")
FAST_INTEGERS = INSTRUCTION_SET == "avx512+vnni"
WIDTH = vector_instructions.WIDTH  # inputs of the tiles that `FAST` and `FAST_INTEGERS` are for
_NIBBLES_ORDER, _FIVES_ORDER = integer_instructions.integer_orders()


@njit
@no_type_check
def ask_for_sparse(low, rows, row_ptr, row, col, value):
    """Ask for the sparse part of some rows, which is read after their tiles."""
    start, end = row_ptr[low], row_ptr[low + rows]
    ask_for(row, start, end)
    ask_for(col, start, end)
    ask_for(value, start, end)


if FAST:

    @njit
    @no_type_check
    def _tile_fast(packed, at, x_nibbles, x_fives, table, size, scale, rows, sums):
        """Add scale[row] * products to sums[row], 16 partial sums per row, for a tile of 128 inputs."""
        base, table_at = packed.ctypes.data + at, table.ctypes.data
        scale_at, step, sums_at = scale.ctypes.data, scale.strides[0], sums.ctypes.data
        left = rows
        if size <= 9:
            groups = rows // 5
            left = rows - 5 * groups
            vector_instructions.fives_tile(base, x_fives.ctypes.data, table_at, scale_at, step, sums_at, 0, groups)
            base += groups * 256
        vector_instructions.nibbles_tile(
            base, x_nibbles.ctypes.data, table_at, scale_at, step, sums_at, rows - left, left
        )

else:  # the vector code cannot be compiled for other CPUs

    @njit
    @no_type_check
    def _tile_fast(packed, at, x_nibbles, x_fives, table, size, scale, rows, sums):
        """Do nothing; this is never called, since `fast` is False on this CPU."""


@njit
@no_type_check
def gemv_inputs(x):
    """Return one token, f32 [in], as the kernels take it.

    Its whole tiles of 128 stand in the orders of the AVX-512 code, two arrays [tiles, 128]. The inputs behind them
    stand in the orders of `tile_products`; the number is the chunk that its code reads of them, 0 where it cannot.
    """
    whole = x.size // WIDTH
    nibbles = np.empty((whole, WIDTH), np.float32)
    fives = np.empty((whole, WIDTH), np.float32)
    for a in range(whole):
        for j in range(WIDTH):
            value = x[a * WIDTH + j]
            nibbles[a, j % 8 * 16 + j // 8] = value
            fives[a, j // 32 * 32 + j % 2 * 16 + j % 32 // 2] = value
    rest = x[whole * WIDTH :].copy().reshape(1, -1)
    chunk, rest_codes, rest_fives = float_inputs(rest, rest.size, rest.size > 0)
    return nibbles, fives, chunk, rest_codes, rest_fives


@njit(fastmath={"reassoc"})
@no_type_check
def _write_sums(sums, total, y):
    """Write the 16 partial sums of each row together, and what `total` holds, to y[rows]."""
    for r in range(y.size):
        found = np.float32(0)
        for i in range(16):
            found += sums[r, i]
        y[r] = found + total[r]


@njit
@no_type_check
def gemv_row(
    d, x, nibbles, fives, chunk, rest_codes, rest_fives, tables, packed, scale, classes, offsets, table, sizes,
    tile_out, row_ptr, row, col, value, sparse_scale, y,
):  # fmt: skip
    """Write the products of row `d` of tiles of 128 inputs to y[out], from what `gemv_inputs` and `gemv` say."""
    across = classes.shape[1]
    low = d * tile_out
    rows = min(tile_out, y.size - low)
    if value.size:
        ask_for_sparse(low, rows, row_ptr, row, col, value)
    sums = np.zeros((rows, 16), np.float32)
    total = np.zeros(rows + SPARE, np.float32)
    for a in range(across):
        k = classes[d, a]
        first = a * WIDTH
        cols = min(WIDTH, x.size - first)
        at = offsets[d * across + a]
        factor = scale[low : low + rows, a]
        if sizes[k] > 16 or (cols < WIDTH and not chunk):
            tile_in_loops(packed, at, x[first:], table[k], sizes[k], factor, rows, cols, total)
        elif cols == WIDTH:
            _tile_fast(packed, at, nibbles[a], fives[a], table[k], sizes[k], factor, rows, sums)
        else:
            float_tile(
                packed.ctypes.data + at,
                rest_codes.ctypes.data,
                rest_fives.ctypes.data,
                0,
                tables.ctypes.data + k * TABLES,
                sizes[k],
                scale.ctypes.data + 2 * (low * across + a),
                2 * across,
                total.ctypes.data,
                0,
                rows,
                cols,
                chunk == CHUNK,
                1,
            )
    _write_sums(sums, total, y[low : low + rows])
    if value.size:
        add_sparse(low, row_ptr, row, col, value, sparse_scale, x, y[low : low + rows])


@njit(parallel=True, cache=True)
@no_type_check
def gemv(x, packed, scale, classes, offsets, table, sizes, tiles, sparse, y):
    """Compute y[out] = W x[in] in float32, in tiles of 128 inputs, on a CPU with AVX-512.

    `scale` is [out, across] as float16 bits, `tiles` is (tile_out, tile_in), and `sparse` is (row_ptr, row, col,
    value, scale bits). The other arguments are the fields of `PackedLayer`.
    """
    tables = tables_of_words(table)
    nibbles, fives, chunk, rest_codes, rest_fives = gemv_inputs(x)
    tile_out = tiles[0]
    row_ptr, row, col, value, sparse_scale = sparse  # a parallel loop takes no tuples of tuples
    for block in prange(classes.shape[0]):
        gemv_row(
            np.int64(block), x, nibbles, fives, chunk, rest_codes, rest_fives, tables, packed, scale, classes, offsets,
            table, sizes, tile_out, row_ptr, row, col, value, sparse_scale, y,
        )  # fmt: skip


if FAST_INTEGERS:

    @njit
    @no_type_check
    def _integer_tile(at, x_nibbles, x_fives, table_at, size, scale_at, stride, total, rows, cols):
        """Add scale[row] * products to total[row] for a tile of up to 128 inputs in int8."""
        left = rows
        total_at = total.ctypes.data
        if size <= 9:
            groups = rows // 5
            left = rows - 5 * groups
            integer_instructions.integer_fives_tile(
                at, x_fives.ctypes.data, table_at, scale_at, stride, total_at, 0, groups, cols
            )
            at += groups * 2 * cols
        integer_instructions.integer_nibbles_tile(
            at, x_nibbles.ctypes.data, table_at, scale_at, stride, total_at, rows - left, left, cols
        )

else:

    @njit
    @no_type_check
    def _integer_tile(at, x_nibbles, x_fives, table_at, size, scale_at, stride, total, rows, cols):
        """Do nothing; this is never called, since `FAST_INTEGERS` is false on this CPU."""


@njit
@no_type_check
def integer_gemv_inputs(codes):
    """Return one token, int8 [in], in the two orders of `integer_instructions`, int8 [tiles, 128] with zeros behind."""
    across = -(-codes.size // WIDTH)
    padded = np.zeros(across * WIDTH, np.int8)
    padded[: codes.size] = codes
    nibbles = np.empty((across, WIDTH), np.int8)
    fives = np.empty((across, WIDTH), np.int8)
    for a in range(across):
        for place in range(WIDTH):
            nibbles[a, place] = padded[a * WIDTH + _NIBBLES_ORDER[place]]
            fives[a, place] = padded[a * WIDTH + _FIVES_ORDER[place]]
    return nibbles, fives


@njit
@no_type_check
def integer_gemv_row(
    d, codes, nibbles, fives, tables, packed, scale, classes, offsets, table, sizes, tile_out, row_ptr, row, col,
    value, sparse_scale, y,
):  # fmt: skip
    """Write the products of row `d` of tiles of 128 inputs to y[out], from what `integer_gemv_inputs` says."""
    across = classes.shape[1]
    low = d * tile_out
    rows = min(tile_out, y.size - low)
    if value.size:
        ask_for_sparse(low, rows, row_ptr, row, col, value)
    total = np.zeros(rows + integer_instructions.AT_ONCE, np.float32)
    for a in range(across):
        k = classes[d, a]
        first = a * WIDTH
        cols = min(WIDTH, codes.size - first)
        at = offsets[d * across + a]
        if sizes[k] > 16:
            floats = codes[first : first + cols].astype(np.float32)
            tile_in_loops(packed, at, floats, table[k], sizes[k], scale[low : low + rows, a], rows, cols, total)
        else:
            _integer_tile(
                packed.ctypes.data + at,
                nibbles[a],
                fives[a],
                tables.ctypes.data + k * TABLES,
                sizes[k],
                scale.ctypes.data + 2 * (low * across + a),
                2 * across,
                total,
                rows,
                cols,
            )
    y[low : low + rows] = total[:rows]
    if value.size:
        add_sparse_integers(low, row_ptr, row, col, value, sparse_scale, codes, y[low : low + rows])


@njit(parallel=True, cache=True)
@no_type_check
def integer_gemv(codes, packed, scale, classes, offsets, table, sizes, tiles, sparse, y):
    """Do what `tile_products.integer_products` does for one token, int8 [in], in tiles of 128 inputs, with VNNI."""
    tables = tables_of_words(table)
    nibbles, fives = integer_gemv_inputs(codes)
    tile_out = tiles[0]
    row_ptr, row, col, value, sparse_scale = sparse
    for block in prange(classes.shape[0]):
        integer_gemv_row(
            np.int64(block), codes, nibbles, fives, tables, packed, scale, classes, offsets, table, sizes, tile_out,
            row_ptr, row, col, value, sparse_scale, y,
        )  # fmt: skip


@njit(parallel=True, cache=True)
@no_type_check
def dequantize(packed, scale, classes, offsets, table, sizes, tiles, sparse, first, out):
    """Write rows of W in float32, from row `first` on, into `out` [rows, in]; `first` is the first row of a tile."""
    tile_out, tile_in = tiles
    row_ptr, _, col, value, sparse_scale = sparse
    across = classes.shape[1]
    blocks = -(-out.shape[0] // tile_out)
    for tile in prange(blocks * across):
        block = np.int64(tile) // across
        a = np.int64(tile) % across
        d = first // tile_out + block
        low = block * tile_out
        rows = min(tile_out, out.shape[0] - low)
        start = a * tile_in
        cols = min(tile_in, out.shape[1] - start)
        words = table[classes[d, a]]
        size = sizes[classes[d, a]]
        at = offsets[d * across + a]
        groups = rows // 5 if size <= 9 else 0
        for g in range(groups):
            for j in range(cols):
                rest = np.uint32(packed[at + 2 * j]) | np.uint32(np.uint32(packed[at + 2 * j + 1]) << 8)
                for k in range(5):
                    rest = np.uint32(rest * np.uint32(9))
                    out[low + 5 * g + k, start + j] = words[rest >> 16]
                    rest = np.uint32(rest & np.uint32(65535))
            at += 2 * cols
        for r in range(5 * groups, rows):
            target = out[low + r]
            if size > 16:
                for j in range(cols):
                    target[start + j] = words[packed[at + j]]
                at += cols
                continue
            for j in range(cols // 2):
                pair = packed[at + j]
                target[start + 2 * j] = words[pair & 15]
                target[start + 2 * j + 1] = words[pair >> 4]
            if cols % 2:
                target[start + cols - 1] = words[packed[at + cols // 2] & 15]
            at += (cols + 1) // 2
        for r in range(rows):
            factor = half(scale[first + low + r, a])
            for j in range(start, start + cols):
                out[low + r, j] *= factor
    if value.size:
        for r in prange(out.shape[0]):
            row = first + np.int64(r)
            factor = half(sparse_scale[row])
            for i in range(row_ptr[row], row_ptr[row + 1]):
                out[r, col[i]] += np.float32(value[i]) * factor


for _kernel in (gemv, integer_gemv, dequantize):  # they contain the code of these modules
    follow(
        _kernel,
        plain_loops,
        instruction_set,
        integer_instructions,
        tile_instructions,
        tile_products,
        vector_instructions,
        vector_operations,
    )
