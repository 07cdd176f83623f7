"""Products of a tile and of a sparse part in plain loops: for tiles that no vector code takes, and to compare with."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit
@no_type_check
def half(bits):
    """Convert float16 bits to float32: shift them into place and multiply by 2^112, the difference of the biases."""
    magnitude = np.uint32((np.uint32(bits) & np.uint32(0x7FFF)) << np.uint32(13))
    sign = np.uint32((np.uint32(bits) & np.uint32(0x8000)) << np.uint32(16))
    return np.uint32(magnitude | sign).view(np.float32) * np.float32(2.0**112)


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


def _sparse_products(kind):
    """Return the function that adds the sparse part of some rows, with sums of a type: `np.float32` or `np.int32`."""

    @njit
    @no_type_check
    def add(low, row_ptr, row, col, value, scale, x, y):
        """Add the products of the sparse part with x[in] to y[rows], the results from row `low` on.

        `row` holds the place of each value in y. A row has few values, so a loop of its own would mostly wait for the
        guess at its end. Slices begin at 0, so that no index is asked whether it counts from the end.
        """
        sums = np.zeros(y.size, kind)
        some = slice(row_ptr[low], row_ptr[low + y.size])
        places, columns, values = row[some], col[some], value[some]
        for i in range(places.size):
            sums[places[i]] += kind(values[i]) * kind(x[columns[i]])
        scales = scale[low : low + y.size]
        for r in range(y.size):
            y[r] += half(scales[r]) * np.float32(sums[r])

    return add


add_sparse, add_sparse_integers = _sparse_products(np.float32), _sparse_products(np.int32)
