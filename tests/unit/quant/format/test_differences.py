"""Differences restore every byte; entropies are those of a formula as loops and of a coder that decodes."""

from collections import Counter
from math import log2

import numpy as np
import pytest

from haloquant.quant.format.bit_layout import encode
from haloquant.quant.format.differences import byte_bits, code_bits, combine_codes, symbol_bits
from haloquant.quant.sparse import no_sparse_weights
from haloquant.quant.tiles import make_grid
from haloquant.records import Codebook, OperatingPoint, QuantizedWeight, TileMap

SIZES = (9, 16)
GRID = make_grid(24, 40, 8, 16)
BOOKS = tuple(Codebook(str(size), np.arange(size, dtype=np.int16), OperatingPoint(1.0, 1e9), 0.0) for size in SIZES)


def layer(seed: int, classes: np.ndarray) -> QuantizedWeight:
    rng = np.random.default_rng(seed)
    most = np.repeat(np.repeat(np.array(SIZES)[classes], 8, 0), 16, 1)[:24, :40]
    codes = np.minimum(rng.geometric(0.3, (24, 40)) - 1, most - 1).astype(np.uint8)
    tiles = TileMap("l", GRID, classes)
    scale = np.ones((24, GRID.across), np.float32)
    return QuantizedWeight("l", codes, scale, tiles, BOOKS, no_sparse_weights(24))


def two_layers() -> tuple[QuantizedWeight, QuantizedWeight]:
    classes = np.array([[0, 1, 0], [1, 0, 1], [0, 0, 1]], np.uint8)
    moved = classes.copy()
    moved[0, 0] = 1
    return layer(1, classes), layer(2, moved)


def ans_bits(symbols: list[int]) -> int:
    """The bits of an asymmetric numeral system of unlimited precision, after a check that it decodes."""
    counts = Counter(symbols)
    start, total = {}, 0
    for symbol in sorted(counts):
        start[symbol], total = total, total + counts[symbol]
    state = 1
    for symbol in symbols:
        state = state // counts[symbol] * total + start[symbol] + state % counts[symbol]
    rest, found = state, []
    while rest > 1:
        place = rest % total
        symbol = max(s for s in start if start[s] <= place)
        found.append(symbol)
        rest = counts[symbol] * (rest // total) + place - start[symbol]
    assert found[::-1] == symbols[-len(found) :]
    return state.bit_length()


def test_a_difference_gives_the_codes_back_and_is_0_where_nothing_changed() -> None:
    new, old = two_layers()
    packed, base = (encode(q.codes, q.tiles.codebook, SIZES, GRID) for q in (new, old))
    difference = combine_codes(packed, base, new.tiles, old.tiles, SIZES)
    assert not np.array_equal(difference, packed)
    assert np.array_equal(combine_codes(difference, base, new.tiles, old.tiles, SIZES), packed)
    assert not combine_codes(packed, packed, new.tiles, new.tiles, SIZES).any()


def test_a_coder_comes_within_a_hundredth_of_the_entropy() -> None:
    new, _ = two_layers()
    classes = np.repeat(np.repeat(new.tiles.codebook, 8, 0), 16, 1)[:24, :40]
    coded = sum(ans_bits(new.codes[classes == index].tolist()) for index in (0, 1))
    assert code_bits(new) <= coded <= 1.01 * code_bits(new) + 2


def test_entropies_are_the_formula_as_loops() -> None:
    new, old = two_layers()
    symbols = [3, 3, 1, 0, 3, 7]
    wanted = sum(-log2(symbols.count(s) / len(symbols)) for s in symbols)
    assert symbol_bits(np.array(symbols)) == pytest.approx(wanted)
    classes, known = (np.repeat(np.repeat(q.tiles.codebook, 8, 0), 16, 1)[:24, :40] for q in (new, old))
    total = 0.0
    for index in (0, 1):
        pairs = [(int(old.codes[at]), int(new.codes[at])) for at in np.ndindex(24, 40)
                 if classes[at] == index == known[at]]  # fmt: skip
        first = Counter(a for a, _ in pairs)
        total += sum(-n * log2(n / first[a]) for (a, _), n in Counter(pairs).items())
        alone = [int(new.codes[at]) for at in np.ndindex(24, 40) if classes[at] == index != known[at]]
        total += sum(-log2(alone.count(s) / len(alone)) for s in alone)
    assert code_bits(new, old) == pytest.approx(total)
    assert code_bits(new, new) == pytest.approx(0.0)
    halves = np.array(
        [1, 200, 2, 200, 1, 200], np.uint8
    )  # three elements of two bytes, of which one byte never changes
    assert byte_bits(halves, 2) == pytest.approx(2 * -log2(2 / 3) + -log2(1 / 3))
