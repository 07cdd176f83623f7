"""Products with a token of which many inputs are zero: columns of the weight whose input is zero are not read.

The stored codes of a tile run along its inputs, so a column cannot be left out of a vector of codes. `by_column` writes
the codes a second time, column by column (`column_instructions`), with the scales of a tile's outputs together. That
takes as many bytes again as the layer has. Tiles must have 128 outputs and codebooks of at most 16 words, and the CPU
needs AVX2 or NEON.

Sums of float32 inputs take their columns in order. Sums of int8 inputs are exact, so they are equal to those of
`tile_products`, bit for bit.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int8, UInt8
from numba import njit, prange

from haloquant.kernels.cpu import (
    column_instructions,
    instruction_set,
    plain_loops,
    tile_instructions,
    tile_products,
    vector_operations,
)
from haloquant.kernels.cpu.column_instructions import COLUMN, OUTPUTS, digit_outputs, kernel, nibble_outputs
from haloquant.kernels.cpu.instruction_set import INSTRUCTION_SET
from haloquant.kernels.cpu.plain_loops import add_sparse, add_sparse_integers
from haloquant.kernels.cpu.tile_instructions import TABLES
from haloquant.kernels.cpu.tile_products import tables_of_words
from haloquant.kernels.cpu.vector_operations import OPERATIONS, Avx2
from haloquant.source_code import follow

AVAILABLE = INSTRUCTION_SET in OPERATIONS
_OPERATIONS = OPERATIONS[INSTRUCTION_SET][0] if AVAILABLE else Avx2
_NIBBLE_OUTPUTS, _DIGIT_OUTPUTS = nibble_outputs(_OPERATIONS), digit_outputs(_OPERATIONS)
_ALIGNMENT = 64  # bytes of a line of the cache


@dataclass(frozen=True)
class ColumnTiles:
    """The codes and scales of a layer, column by column.

    Attributes:
        codes: 64 bytes for each column of each row of tiles, [down, in, 64].
        scale: the scales of each tile's outputs, [down, across, 128].
    """

    codes: UInt8[np.ndarray, "down in bytes"]
    scale: Float32[np.ndarray, "down across outputs"]


def fits(tile_out: int, sizes: tuple[int, ...]) -> bool:
    """Return whether layers of such tiles and codebooks can be written column by column on this CPU."""
    return AVAILABLE and tile_out == OUTPUTS and max(sizes) <= 16


def by_column(codes: UInt8[np.ndarray, "out in"], arrays: tuple[object, ...]) -> ColumnTiles:
    """Return the codes of a layer column by column.

    Args:
        codes: the codes of its weights.
        arrays: what `PackedLayer.arrays` holds.
    """
    _, scale, classes, _, _, sizes, tiles, _ = arrays
    assert isinstance(scale, np.ndarray) and isinstance(classes, np.ndarray)  # noqa: S101
    size = classes.shape[0] * codes.shape[1] * COLUMN
    room = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    found = room[start : start + size].reshape(classes.shape[0], codes.shape[1], COLUMN)
    _write(codes, classes, sizes, tiles, found)
    padded = np.zeros((classes.shape[0] * OUTPUTS, scale.shape[1]), np.float32)
    padded[: scale.shape[0]] = scale.view(np.float16)
    ordered = np.ascontiguousarray(padded.reshape(-1, OUTPUTS, scale.shape[1]).transpose(0, 2, 1))
    return ColumnTiles(found, ordered)


@njit(parallel=True, cache=True)
@no_type_check
def _write(codes, classes, sizes, tiles, found):
    """Write the columns of all tiles to `found`, which holds zeros."""
    tile_out, tile_in = tiles
    down, across = classes.shape
    for tile in prange(down * across):
        d = np.int64(tile) // across
        a = np.int64(tile) % across
        low = d * tile_out
        rows = min(tile_out, codes.shape[0] - low)
        for j in range(a * tile_in, min((a + 1) * tile_in, codes.shape[1])):
            column = found[d, j]
            if sizes[classes[d, a]] <= 9:
                for word in range(_DIGIT_OUTPUTS.shape[0]):
                    value = 0
                    for digit in range(5):
                        row = _DIGIT_OUTPUTS[word, digit]
                        value = value * 9 + (np.int64(codes[low + row, j]) if 0 <= row < rows else 0)
                    fraction = (value * 65536 + 59048) // 59049
                    column[2 * word] = fraction & 255
                    column[2 * word + 1] = fraction >> 8
            else:
                for place in range(_NIBBLE_OUTPUTS.shape[0]):
                    for part in range(2):
                        row = _NIBBLE_OUTPUTS[place, part]
                        if row < rows:
                            column[place] |= codes[low + row, j] << (4 * part)


if AVAILABLE:
    _nibbles, _fives = kernel("nibbles", _OPERATIONS), kernel("fives", _OPERATIONS)
else:  # the vector code cannot be compiled for other CPUs

    @njit
    @no_type_check
    def _nibbles(codes, places, x, table, sums, count):
        """Do nothing; this is never called, since `fits` is False on this CPU."""

    _fives = _nibbles


@njit
@no_type_check
def _chosen(x, tile_in, across):
    """Return the columns of each tile whose input is not zero, their inputs, and how many there are.

    A tile with an odd number of them gets its first column once more, with an input of zero.
    """
    places = np.zeros((across, tile_in + 1), np.int32)
    inputs = np.zeros((across, tile_in + 1), np.float32)
    counts = np.zeros(across, np.int64)
    for a in range(across):
        first = a * tile_in
        n = 0
        for j in range(min(tile_in, x.size - first)):
            if x[first + j] != 0:
                places[a, n] = j
                inputs[a, n] = x[first + j]
                n += 1
        counts[a] = n + n % 2
    return places, inputs, counts


@njit(parallel=True, cache=True)
@no_type_check
def product(x, integers, codes, column_scale, classes, table, sizes, tiles, sparse, y):
    """Compute y[out] = W x[in] for one token.

    `x` is float32. `integers` is empty, or holds the same inputs as int8: then all sums are those of integers.
    `column_scale` and `codes` are those of `ColumnTiles`. The other arguments are the fields of `PackedLayer`.
    """
    tile_out, tile_in = tiles
    row_ptr, row, col, value, sparse_scale = sparse
    down, across = classes.shape
    tables = tables_of_words(table)
    places, inputs, counts = _chosen(x, tile_in, across)
    for block in prange(down):
        d = np.int64(block)
        low = d * tile_out
        rows = min(tile_out, y.size - low)
        total = np.zeros(OUTPUTS, np.float32)
        sums = np.empty(OUTPUTS, np.float32)
        for a in range(across):
            if counts[a] == 0:
                continue
            k = classes[d, a]
            at = codes.ctypes.data + (d * x.size + a * tile_in) * COLUMN
            words = tables.ctypes.data + k * TABLES
            if sizes[k] <= 9:
                _fives(at, places[a].ctypes.data, inputs[a].ctypes.data, words, sums.ctypes.data, counts[a])
            else:
                _nibbles(at, places[a].ctypes.data, inputs[a].ctypes.data, words, sums.ctypes.data, counts[a])
            factor = column_scale[d, a]
            for r in range(OUTPUTS):
                total[r] += factor[r] * sums[r]
        y[low : low + rows] = total[:rows]
        if value.size:
            if integers.size:
                add_sparse_integers(low, row_ptr, row, col, value, sparse_scale, integers, y[low : low + rows])
            else:
                add_sparse(low, row_ptr, row, col, value, sparse_scale, x, y[low : low + rows])


for _kernel in (product, _write):
    follow(
        _kernel, column_instructions, plain_loops, instruction_set, tile_instructions, tile_products, vector_operations
    )


def column_product(
    x: Float32[np.ndarray, " in"],
    columns: ColumnTiles,
    arrays: tuple[object, ...],
    y: Float32[np.ndarray, " out"],
    integers: Int8[np.ndarray, " in"] | None = None,
) -> None:
    """Write W x to `y`; columns whose input is zero are not read.

    Args:
        x: the inputs of one token.
        columns: the layer column by column.
        arrays: what `PackedLayer.arrays` holds.
        y: results.
        integers: the same inputs as int8, for a product of integers.
    """
    _, _, classes, _, table, sizes, tiles, sparse = arrays
    whole = np.empty(0, np.int8) if integers is None else integers
    product(x, whole, columns.codes, columns.scale, classes, table, sizes, tiles, sparse, y)
