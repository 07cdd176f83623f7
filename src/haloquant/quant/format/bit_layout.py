"""How the codes of one tile lie in bytes. A tile is self-contained, so a kernel can jump to it.

Three encodings, chosen by the size of the tile's codebook (rows and columns are those the tile really has):

- at most 9 words: five rows at a time, one 16-bit word per column. The word is the fraction 0.d0 d1 d2 d3 d4 in base 9,
  rounded up to 1/65536, so that multiplying by 9 shifts the next digit out (d0 is the first of the five rows). The rows
  left over (rows mod 5) follow in nibbles.
- at most 16 words: a nibble each, row by row, the even column in the low half of its byte.
- more: a byte each, row by row.

Every tile is padded with zeros to 16 bytes. Tiles follow one another along the inputs, then along the outputs.
"""

from functools import cache
from typing import no_type_check

import numpy as np
from jaxtyping import Int64, UInt8
from numba import njit, prange

from haloquant.records import TileGrid

NINE = 9
DIGITS = 5  # 9^5 = 59049 <= 65536
ALIGNMENT = 16


def tile_bytes(rows: int, cols: int, size: int) -> int:
    """Stored bytes of a tile of rows x cols with a codebook of `size` words, padding included."""
    nibbles = -(-cols // 2)
    if size <= NINE:
        plain = rows // DIGITS * cols * 2 + rows % DIGITS * nibbles
    elif size <= 16:
        plain = rows * nibbles
    else:
        plain = rows * cols
    return -(-plain // ALIGNMENT) * ALIGNMENT


def tile_offsets(
    grid: TileGrid, classes: UInt8[np.ndarray, "down across"], sizes: tuple[int, ...]
) -> Int64[np.ndarray, " ends"]:
    """Byte at which each tile starts, in storage order (across runs fastest), and the total length at the end."""
    rows = np.minimum(grid.tile_out, grid.out_features - grid.tile_out * np.arange(grid.down))
    cols = np.minimum(grid.tile_in, grid.in_features - grid.tile_in * np.arange(grid.across))
    lengths = np.zeros((grid.down, grid.across), np.int64)
    for index, size in enumerate(sizes):
        here = classes == index
        for row in np.unique(rows):
            for col in np.unique(cols):
                lengths[here & (rows == row)[:, None] & (cols == col)] = tile_bytes(int(row), int(col), size)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def encode(codes: np.ndarray, classes: np.ndarray, sizes: tuple[int, ...], grid: TileGrid) -> UInt8[np.ndarray, " n"]:
    """All tiles of a layer as bytes. The codes must be below the size of their tile's codebook."""
    offsets = tile_offsets(grid, classes, sizes)
    packed = np.zeros(int(offsets[-1]), np.uint8)
    _encode(codes, classes, offsets, np.array(sizes, np.int64), grid.tile_out, grid.tile_in, packed)
    return packed


def decode(
    packed: UInt8[np.ndarray, " n"], classes: np.ndarray, sizes: tuple[int, ...], grid: TileGrid
) -> tuple[UInt8[np.ndarray, "out in"], int]:
    """The codes of all tiles, and the number of places that `encode` could not have written."""
    codes = np.empty((grid.out_features, grid.in_features), np.uint8)
    offsets = tile_offsets(grid, classes, sizes)
    wrong = np.zeros(grid.down * grid.across, np.int64)
    _decode(packed, classes, offsets, np.array(sizes, np.int64), grid.tile_out, grid.tile_in, codes, wrong)
    return codes, int(wrong.sum())


def count_wrong(packed: UInt8[np.ndarray, " n"], classes: np.ndarray, sizes: tuple[int, ...], grid: TileGrid) -> int:
    """The number of stored words, nibbles and bytes that `encode` could not have written, without decoding anything."""
    offsets = tile_offsets(grid, classes, sizes)
    wrong = np.zeros(grid.down * grid.across, np.int64)
    shape = (grid.out_features, grid.in_features, grid.tile_out, grid.tile_in)
    _count(packed, classes, offsets, np.array(sizes, np.int64), shape, _largest_digits(), wrong)
    return int(wrong.sum())


@cache
def _largest_digits() -> np.ndarray:
    """The largest digit of every 16-bit word; 255 where no five digits are stored as that word."""
    words = np.arange(NINE**DIGITS)
    digits = np.max([words // NINE**k % NINE for k in range(DIGITS)], axis=0)
    largest = np.full(65536, 255, np.uint8)
    largest[-(-words * 65536 // NINE**DIGITS)] = digits
    return largest


@njit(cache=True)
@no_type_check
def _put_nibbles(codes, row, first, cols, packed, at):
    for j in range(0, cols - 1, 2):
        packed[at + j // 2] = codes[row, first + j] | (codes[row, first + j + 1] << np.uint8(4))
    if cols % 2:
        packed[at + cols // 2] = codes[row, first + cols - 1]


@njit(parallel=True, cache=True)
@no_type_check
def _encode(codes, classes, offsets, sizes, tile_out, tile_in, packed):
    down, across = classes.shape
    for tile in prange(down * across):
        d = np.int64(tile) // across
        a = np.int64(tile) % across
        low = d * tile_out
        rows = min(tile_out, codes.shape[0] - low)
        first = a * tile_in
        cols = min(tile_in, codes.shape[1] - first)
        at = offsets[tile]
        size = sizes[classes[d, a]]
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
    down, across = classes.shape
    for tile in prange(down * across):
        d = np.int64(tile) // across
        a = np.int64(tile) % across
        low = d * tile_out
        rows = min(tile_out, codes.shape[0] - low)
        first = a * tile_in
        cols = min(tile_in, codes.shape[1] - first)
        at = offsets[tile]
        size = sizes[classes[d, a]]
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
    """Whether `encode` could have written every word, in 16 bits throughout, so that vectors of them are looked at.

    With v the number of its digits, word = ceil(65536 v / 59049): so 59049 word lies less than 59049 above 65536 v.
    """
    worst = np.uint16(0)
    for index in range(words.size):
        above = np.uint16(words[index] * np.uint16(59049))
        worst = above if above > worst else worst
    return worst < 59049


@njit(cache=True, nogil=True)
@no_type_check
def _count(packed, classes, offsets, sizes, shape, highest, wrong):
    out_features, in_features, tile_out, tile_in = shape
    down, across = classes.shape
    for tile in range(down * across):
        d = tile // across
        a = tile % across
        rows = min(tile_out, out_features - d * tile_out)
        cols = min(tile_in, in_features - a * tile_in)
        at = offsets[tile]
        size = sizes[classes[d, a]]
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
