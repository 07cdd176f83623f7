"""How the codes of a tile are stored in bytes. Every tile starts at a known byte, so a kernel can read any one tile.

The size of the tile's codebook decides the encoding. Rows and columns are those of the tile without padding.

- At most 9 values: five rows share one 16-bit word per column. It is the base-9 fraction 0.d0 d1 d2 d3 d4, rounded
  up to a multiple of 1/65536; d0 is the code of the first of the five rows. Multiplying by 9 shifts the next digit out.
  The rows that remain (rows mod 5) follow in nibbles.
- At most 16 values: one nibble per code, row by row. The even column is in the low half of its byte.
- More values: one byte per code, row by row.

Every tile is padded with zeros to a multiple of 16 bytes. Tiles are stored along the inputs first, then along the
outputs.
"""

from functools import cache
from typing import no_type_check

import numpy as np
from jaxtyping import Int64, UInt8
from numba import njit, prange

from haloquant.quant.tiles import tile_columns, tile_rows
from haloquant.records import TileGrid

NINE = 9  # base of the 16-bit words, and the largest codebook that is stored in them
DIGITS = 5  # digits of a 16-bit word: 9^5 = 59049 <= 65536
_ALIGNMENT = 16  # bytes


def tile_bytes(rows: int, cols: int, size: int) -> int:
    """Return the stored bytes of a tile of rows x cols with a codebook of `size` words, padding included."""
    nibbles = -(-cols // 2)
    if size <= NINE:
        plain = rows // DIGITS * cols * 2 + rows % DIGITS * nibbles
    elif size <= 16:
        plain = rows * nibbles
    else:
        plain = rows * cols
    return -(-plain // _ALIGNMENT) * _ALIGNMENT


def tile_offsets(
    grid: TileGrid, classes: UInt8[np.ndarray, "down across"], sizes: tuple[int, ...]
) -> Int64[np.ndarray, " ends"]:
    """Return the byte at which each tile starts, in storage order, and the total length as the last entry."""
    rows, cols = tile_rows(grid), tile_columns(grid)
    lengths = np.zeros((grid.down, grid.across), np.int64)
    for index, size in enumerate(sizes):
        here = classes == index
        for row in np.unique(rows):
            for col in np.unique(cols):
                lengths[here & (rows == row)[:, None] & (cols == col)] = tile_bytes(int(row), int(col), size)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def encode(codes: np.ndarray, classes: np.ndarray, sizes: tuple[int, ...], grid: TileGrid) -> UInt8[np.ndarray, " n"]:
    """Return all tiles of a layer as bytes. Every code must be below the size of its tile's codebook."""
    offsets = tile_offsets(grid, classes, sizes)
    packed = np.zeros(int(offsets[-1]), np.uint8)
    _encode(codes, classes, offsets, np.array(sizes, np.int64), grid.tile_out, grid.tile_in, packed)
    return packed


def decode(
    packed: UInt8[np.ndarray, " n"], classes: np.ndarray, sizes: tuple[int, ...], grid: TileGrid
) -> tuple[UInt8[np.ndarray, "out in"], int]:
    """Return the codes of all tiles, and the number of codes, words and bytes that `encode` cannot have written."""
    codes = np.empty((grid.out_features, grid.in_features), np.uint8)
    offsets = tile_offsets(grid, classes, sizes)
    wrong = np.zeros(grid.down * grid.across, np.int64)
    _decode(packed, classes, offsets, np.array(sizes, np.int64), grid.tile_out, grid.tile_in, codes, wrong)
    return codes, int(wrong.sum())


def count_wrong(packed: UInt8[np.ndarray, " n"], classes: np.ndarray, sizes: tuple[int, ...], grid: TileGrid) -> int:
    """Return the number of stored words, nibbles and bytes that `encode` cannot have written. No code is decoded."""
    offsets = tile_offsets(grid, classes, sizes)
    wrong = np.zeros(grid.down * grid.across, np.int64)
    shape = (grid.out_features, grid.in_features, grid.tile_out, grid.tile_in)
    _count(packed, classes, offsets, np.array(sizes, np.int64), shape, _largest_digits(), wrong)
    return int(wrong.sum())


@cache
def _largest_digits() -> np.ndarray:
    """Return the largest digit of every 16-bit word; 255 for a word that `encode` never writes."""
    words = np.arange(NINE**DIGITS)
    digits = np.max([words // NINE**k % NINE for k in range(DIGITS)], axis=0)
    largest = np.full(65536, 255, np.uint8)
    largest[-(-words * 65536 // NINE**DIGITS)] = digits
    return largest


@njit(cache=True)
@no_type_check
def _place(tile, classes, tile_out, tile_in, out_features, in_features):
    """Return the position of a tile (first row, number of rows, first column, number of columns) and its class."""
    d = np.int64(tile) // classes.shape[1]
    a = np.int64(tile) % classes.shape[1]
    low = d * tile_out
    first = a * tile_in
    return low, min(tile_out, out_features - low), first, min(tile_in, in_features - first), classes[d, a]


@njit(cache=True)
@no_type_check
def _put_nibbles(codes, row, first, cols, packed, at):
    """Write one row of codes as nibbles, the even column in the low half of its byte."""
    for j in range(0, cols - 1, 2):
        packed[at + j // 2] = codes[row, first + j] | (codes[row, first + j + 1] << np.uint8(4))
    if cols % 2:
        packed[at + cols // 2] = codes[row, first + cols - 1]


@njit(parallel=True, cache=True)
@no_type_check
def _encode(codes, classes, offsets, sizes, tile_out, tile_in, packed):
    """Write all tiles; every tile is written by one thread."""
    for tile in prange(classes.size):
        low, rows, first, cols, kind = _place(tile, classes, tile_out, tile_in, codes.shape[0], codes.shape[1])
        at = offsets[tile]
        size = sizes[kind]
        if size > 16:
            for r in range(rows):
                packed[at + r * cols : at + (r + 1) * cols] = codes[low + r, first : first + cols]
            continue
        fives = rows // 5 if size <= 9 else 0
        for g in range(fives):
            for j in range(cols):
                value = 0
                for k in range(5):
                    value = value * 9 + np.int64(codes[low + 5 * g + k, first + j])
                word = (value * 65536 + 59048) // 59049
                packed[at + 2 * (g * cols + j)] = word & 255
                packed[at + 2 * (g * cols + j) + 1] = word >> 8
        at += fives * cols * 2
        for r in range(5 * fives, rows):
            _put_nibbles(codes, low + r, first, cols, packed, at)
            at += (cols + 1) // 2


@njit(cache=True)
@no_type_check
def _get_nibbles(packed, at, codes, row, first, cols, size):
    """Read one row of codes from nibbles. Return how many are not below `size`, or are padding other than 0."""
    wrong = 0
    for j in range(cols):
        pair = packed[at + j // 2]
        code = pair >> np.uint8(4) if j % 2 else pair & np.uint8(15)
        wrong += code >= size
        codes[row, first + j] = code
    if cols % 2:
        wrong += packed[at + cols // 2] > 15
    return wrong


@njit(parallel=True, cache=True)
@no_type_check
def _decode(packed, classes, offsets, sizes, tile_out, tile_in, codes, wrong):
    """Read the codes of all tiles. Write for each tile the number of codes, words and bytes that are wrong."""
    for tile in prange(classes.size):
        low, rows, first, cols, kind = _place(tile, classes, tile_out, tile_in, codes.shape[0], codes.shape[1])
        at = offsets[tile]
        size = sizes[kind]
        bad = 0
        if size > 16:
            for r in range(rows):
                for j in range(cols):
                    code = packed[at + r * cols + j]
                    bad += code >= size
                    codes[low + r, first + j] = code
            at += rows * cols
        else:
            fives = rows // 5 if size <= 9 else 0
            for g in range(fives):
                for j in range(cols):
                    word = np.int64(packed[at + 2 * (g * cols + j)]) + 256 * np.int64(
                        packed[at + 2 * (g * cols + j) + 1]
                    )
                    rest = word
                    value = 0
                    for k in range(5):
                        rest *= 9
                        digit = rest >> 16
                        rest &= 65535
                        bad += digit >= size
                        value = value * 9 + digit
                        codes[low + 5 * g + k, first + j] = digit
                    bad += (value * 65536 + 59048) // 59049 != word
            at += fives * cols * 2
            for r in range(5 * fives, rows):
                bad += _get_nibbles(packed, at, codes, low + r, first, cols, size)
                at += (cols + 1) // 2
        for byte in range(at, offsets[tile + 1]):
            bad += packed[byte] != 0
        wrong[tile] = bad


@njit(cache=True)
@no_type_check
def _five_sound(words):
    """Return whether `encode` can have written every word.

    `encode` writes word = ceil(65536 v / 59049), where v is the value of the five digits. So the difference
    59049 word - 65536 v is less than 59049. All steps are in 16 bits, so that the compiler uses vector instructions.
    """
    worst = np.uint16(0)
    for index in range(words.size):
        above = np.uint16(words[index] * np.uint16(59049))
        worst = above if above > worst else worst
    return worst < 59049


@njit(cache=True, nogil=True)
@no_type_check
def _count(packed, classes, offsets, sizes, shape, highest, wrong):
    """Write for each tile the number of words, nibbles and bytes that `_encode` cannot have written.

    `highest` is `_largest_digits`. With 9 words a faster check of all 16-bit words comes first.
    """
    out_features, in_features, tile_out, tile_in = shape
    for tile in range(classes.size):
        _, rows, _, cols, kind = _place(tile, classes, tile_out, tile_in, out_features, in_features)
        at = offsets[tile]
        size = sizes[kind]
        bad = 0
        if size > 16:
            for byte in range(at, at + rows * cols):
                bad += packed[byte] >= size
            at += rows * cols
        else:
            fives = rows // 5 if size <= 9 else 0
            words = packed[at : at + 2 * fives * cols].view(np.uint16)
            if size != 9 or not _five_sound(words):
                for index in range(words.size):
                    bad += highest[words[index]] >= size
            at += fives * cols * 2
            left = rows - 5 * fives
            width = (cols + 1) // 2
            if size < 16:
                for byte in range(at, at + left * width):
                    bad += (packed[byte] & 15) >= size
                    bad += (packed[byte] >> 4) >= size
            if cols % 2:
                for r in range(left):
                    bad += packed[at + r * width + width - 1] > 15
            at += left * width
        for byte in range(at, offsets[tile + 1]):
            bad += packed[byte] != 0
        wrong[tile] = bad
