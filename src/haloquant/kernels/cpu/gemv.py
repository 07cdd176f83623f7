"""Matrix-vector products directly from packed codes with AVX-512, the same in plain loops, and dequantized weights.

Each thread takes a row of tiles, so packed bytes are read once and in order. Tiles with 128 inputs use vector
instructions if the CPU has AVX-512. All other tiles use plain loops, with which the tests compare the vector code.
`kernels.cpu.tile_products` serves other CPUs, other tiles and integers.
"""

from typing import no_type_check

import numpy as np
from numba import njit, prange

from haloquant.kernels.cpu import vector_instructions
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.source_code import follow

FAST = INSTRUCTION_SET == "avx512"
WIDTH = vector_instructions.WIDTH  # inputs of the tiles that `FAST` is for


@njit
@no_type_check
def half(bits):
    """Convert float16 bits to float32: shift them into place and multiply by 2^112, the difference of the biases."""
    magnitude = np.uint32((np.uint32(bits) & np.uint32(0x7FFF)) << 13).view(np.float32) * np.float32(2.0**112)
    return -magnitude if bits & 0x8000 else magnitude


@njit
@no_type_check
def tile_in_loops(packed, at, x, table, size, scale, rows, cols, y):
    """Add scale[row] * sum over the tile's inputs of word * x to y[row], in plain loops."""
    left = rows
    if size <= 9:
        groups = rows // 5
        left = rows - 5 * groups
        sums = np.empty(5, np.float32)
        for g in range(groups):
            sums[:] = 0
            for j in range(cols):
                place = at + 2 * (g * cols + j)
                rest = np.int64(packed[place]) | (np.int64(packed[place + 1]) << 8)
                for k in range(5):
                    rest *= 9
                    sums[k] += table[rest >> 16] * x[j]
                    rest &= 65535
            for k in range(5):
                y[5 * g + k] += half(scale[5 * g + k]) * sums[k]
        at += 2 * groups * cols
    for r in range(rows - left, rows):
        total = np.float32(0)
        if size > 16:
            for j in range(cols):
                total += table[packed[at + j]] * x[j]
            at += cols
        else:
            for j in range(cols // 2):
                pair = packed[at + j]
                total += table[pair & 15] * x[2 * j] + table[pair >> 4] * x[2 * j + 1]
            if cols % 2:
                total += table[packed[at + cols // 2] & 15] * x[cols - 1]
            at += (cols + 1) // 2
        y[r] += half(scale[r]) * total


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
def _tile(packed, at, x, x_nibbles, x_fives, a, table, size, scale, rows, cols, fast, sums, y):
    """Add the products of tile `a` of a row of tiles to `sums` (vector instructions) or to `y` (plain loops)."""
    if fast and cols == 128 and size <= 16:
        _tile_fast(packed, at, x_nibbles[a], x_fives[a], table, size, scale, rows, sums)
    else:
        tile_in_loops(packed, at, x, table, size, scale, rows, cols, y)


@njit
@no_type_check
def sparse_row(row, row_ptr, col, value, x):
    """Return the sum of value * x over a row of the sparse part, in four independent chains of additions."""
    a = b = c = d = np.float32(0)
    start, stop = row_ptr[row], row_ptr[row + 1]
    whole = start + (stop - start) // 4 * 4
    for i in range(start, whole, 4):
        a += np.float32(value[i]) * x[col[i]]
        b += np.float32(value[i + 1]) * x[col[i + 1]]
        c += np.float32(value[i + 2]) * x[col[i + 2]]
        d += np.float32(value[i + 3]) * x[col[i + 3]]
    for i in range(whole, stop):
        a += np.float32(value[i]) * x[col[i]]
    return (a + b) + (c + d)


@njit
@no_type_check
def _arrange(x, across):
    """Return the inputs in the two orders in which the vector kernels read them, [across, 128] each."""
    nibbles = np.zeros((across, 128), np.float32)
    fives = np.zeros((across, 128), np.float32)
    for i in range(x.size):
        a, j = i // 128, i % 128
        nibbles[a, j % 8 * 16 + j // 8] = x[i]
        fives[a, j // 32 * 32 + j % 2 * 16 + j % 32 // 2] = x[i]
    return nibbles, fives


@njit(parallel=True, cache=True)
@no_type_check
def gemv(x, packed, scale, classes, offsets, table, sizes, tiles, sparse, fast, y):
    """Compute y[out] = W x[in] in float32.

    `scale` is [out, across] as float16 bits, `tiles` is (tile_out, tile_in), `sparse` is (row_ptr, col, value, scale
    bits), and `fast` allows the vector kernels. The other arguments are the fields of `PackedLayer`.
    """
    tile_out, tile_in = tiles
    row_ptr, col, value, sparse_scale = sparse
    down, across = classes.shape
    fast = fast and tile_in == 128
    x_nibbles, x_fives = _arrange(x, across if fast else -(-x.size // 128))
    for block in prange(down):
        d = np.int64(block)
        low = d * tile_out
        rows = min(tile_out, y.size - low)
        out = y[low : low + rows]
        out[:] = 0
        sums = np.zeros((rows, 16), np.float32)
        for a in range(across):
            k = classes[d, a]
            cols = min(tile_in, x.size - a * tile_in)
            at = offsets[d * across + a]
            factor = scale[low : low + rows, a]
            _tile(
                packed,
                at,
                x[a * tile_in :],
                x_nibbles,
                x_fives,
                a,
                table[k],
                sizes[k],
                factor,
                rows,
                cols,
                fast,
                sums,
                out,
            )
        for r in range(rows):
            out[r] += sums[r].sum()
            if value.size:
                out[r] += half(sparse_scale[low + r]) * sparse_row(low + r, row_ptr, col, value, x)


@njit(parallel=True, cache=True)
@no_type_check
def dequantize(packed, scale, classes, offsets, table, sizes, tiles, sparse, first, out):
    """Write rows of W in float32, from row `first` on, into `out` [rows, in]; `first` is the first row of a tile."""
    tile_out, tile_in = tiles
    row_ptr, col, value, sparse_scale = sparse
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


for _kernel in (gemv, dequantize):  # they contain the vector code
    follow(_kernel, vector_instructions)
