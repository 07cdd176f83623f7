"""How codes lie in bytes: by hand, against a slow twin, and with damaged bytes."""

import numpy as np
import pytest

from haloquant.quant.format.bit_layout import (
    _five_sound,
    _largest_digits,
    count_wrong,
    decode,
    encode,
    tile_bytes,
    tile_offsets,
)
from haloquant.quant.format.packing import pack
from haloquant.records import TileGrid
from support.halo_layers import NINE, SIXTEEN, codebook, random_layer

BOOKS = {
    "two": (codebook(SIXTEEN, "slow"), codebook(NINE, "fast")),
    "one_nine": (codebook(NINE),),
    "bytes": (codebook(tuple(range(-100, 101))), codebook((-1, 0, 1)), codebook(SIXTEEN[2:13])),
}


def test_every_five_digits_survive() -> None:
    """All 9^5 words of the base-9 encoding, which are distinct and in the order of the numbers they stand for."""
    value = np.arange(9**5)
    codes = np.stack([value // 9**k % 9 for k in (4, 3, 2, 1, 0)]).astype(np.uint8)
    grid = TileGrid(5, 9**5, 5, 9**5)
    classes = np.zeros((1, 1), np.uint8)
    packed = encode(codes, classes, (9,), grid)
    words = packed[: 2 * 9**5].view("<u2").astype(np.int64)
    assert np.all(np.diff(words) > 0)
    found, wrong = decode(packed, classes, (9,), grid)
    assert wrong == 0
    assert np.array_equal(found, codes)


def test_every_word_that_encode_does_not_write_is_found() -> None:
    words = np.arange(65536, dtype="<u2")
    grid = TileGrid(5, 65536, 5, 65536)
    _, wrong = decode(words.view(np.uint8), np.zeros((1, 1), np.uint8), (9,), grid)
    assert wrong == 65536 - 9**5
    largest = _largest_digits()
    assert all(_five_sound(words[i : i + 1]) == (largest[i] < 9) for i in range(65536))


def test_bytes_by_hand() -> None:
    """One tile of 6 x 3 with nine words: five rows as base-9 fractions, then one row of nibbles, then padding."""
    codes = np.array([[1, 0, 8], [0, 0, 8], [0, 0, 8], [0, 0, 8], [0, 1, 8], [3, 4, 5]], np.uint8)
    grid = TileGrid(6, 3, 6, 3)
    packed = encode(codes, np.zeros((1, 1), np.uint8), (9,), grid)
    # 0.1 in base 9 is 65536 / 9 = 7281.8, rounded up; 0.00001 is 1.1, so 2; 0.88888 is 65534.9, so 65535.
    assert packed.tobytes() == bytes([7282 & 255, 7282 >> 8, 2, 0, 255, 255, 0x43, 0x05]) + bytes(8)
    packed = encode(codes, np.zeros((1, 1), np.uint8), (16,), grid)
    assert packed[:4].tobytes() == bytes([0x01, 0x08, 0x00, 0x08])


def slow_decode(packed, classes, sizes, grid):
    """The layout again, in plain Python with whole numbers and no shared code."""
    codes = np.zeros((grid.out_features, grid.in_features), np.uint8)
    data = packed.tolist()
    at = 0
    for d in range(grid.down):
        for a in range(grid.across):
            rows = range(d * grid.tile_out, min((d + 1) * grid.tile_out, grid.out_features))
            cols = range(a * grid.tile_in, min((a + 1) * grid.tile_in, grid.in_features))
            size, start, rows = sizes[classes[d, a]], at, list(rows)
            while size <= 9 and len(rows) >= 5:
                for c in cols:
                    value = (data[at] + 256 * data[at + 1]) * 9**5 // 65536
                    at += 2
                    for k in range(5):
                        codes[rows[k], c] = value // 9 ** (4 - k) % 9
                rows = rows[5:]
            for r in rows:
                for index, c in enumerate(cols):
                    if size > 16:
                        codes[r, c] = data[at]
                        at += 1
                        continue
                    codes[r, c] = data[at] >> 4 if index % 2 else data[at] % 16
                    at += index % 2
                at += size <= 16 and len(cols) % 2
            at = start + -(-(at - start) // 16) * 16
    assert at == len(data)
    return codes


@pytest.mark.parametrize("books", BOOKS)
def test_slow_twin_reads_the_same_codes(books) -> None:
    q = random_layer(61, 47, (17, 13), BOOKS[books], seed=5, sparse=0)
    sizes = tuple(book.values.size for book in q.codebooks)
    packed = pack(q)["weight_packed"]
    assert np.array_equal(slow_decode(packed, q.tiles.codebook, sizes, q.tiles.grid), q.codes)


def test_a_full_tile_of_nine_words_takes_3_22_bits_and_of_sixteen_4() -> None:
    assert tile_bytes(128, 128, 9) == 25 * 256 + 3 * 64
    assert tile_bytes(128, 128, 16) == 8192
    assert tile_bytes(32, 32, 9) == 6 * 64 + 2 * 16


def test_offsets_add_up_tile_by_tile() -> None:
    q = random_layer(130, 172, 64)
    grid, sizes = q.tiles.grid, (16, 9)
    offsets = tile_offsets(grid, q.tiles.codebook, sizes)
    wanted = [0]
    for d in range(grid.down):
        for a in range(grid.across):
            rows, cols = min(64, 130 - 64 * d), min(64, 172 - 64 * a)
            wanted.append(wanted[-1] + tile_bytes(rows, cols, sizes[q.tiles.codebook[d, a]]))
    assert offsets.tolist() == wanted


@pytest.mark.parametrize("books", BOOKS)
def test_count_without_decoding_finds_what_decoding_finds(books) -> None:
    q = random_layer(61, 47, (17, 13), BOOKS[books], seed=5, sparse=0)
    sizes, packed = tuple(book.values.size for book in q.codebooks), pack(q)["weight_packed"]
    assert count_wrong(packed, q.tiles.codebook, sizes, q.tiles.grid) == 0
    found = 0
    for at in np.random.default_rng(0).integers(0, packed.size, 200):
        damaged = packed.copy()
        damaged[at] ^= 255
        slow = decode(damaged, q.tiles.codebook, sizes, q.tiles.grid)[1]
        assert (slow > 0) == (count_wrong(damaged, q.tiles.codebook, sizes, q.tiles.grid) > 0)
        found += slow > 0
    assert found > 10
