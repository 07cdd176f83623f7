"""Levels of a codebook under scales of either sign, and codes from the index of a level, by hand."""

import numpy as np

from haloquant.quant.rounding.levels import codes_of_levels, level_table
from haloquant.quant.sparse import no_sparse_weights
from haloquant.records import SparseWeights
from support.quant_twins import book, tile_map

BOOKS = (book([-4, 0, 2]), book([0, 1]))
TILES = tile_map((2, 4), 2, 2, [[0, 1]])
SCALE = np.array([[0.5, 2.0], [-1.0, 0.0]], np.float32)


def test_levels_ascend() -> None:
    inf = np.inf
    assert level_table(SCALE, TILES, BOOKS).tolist() == [[[-2, 0, 1], [0, 2, inf]], [[-2, 0, 4], [0, 0, inf]]]


def test_a_negative_scale_reverses_the_codes() -> None:
    indices = np.array([[0, 1, 0, 1], [0, 2, 1, 1]], np.uint8)
    codes = codes_of_levels(indices, SCALE, TILES, BOOKS, no_sparse_weights(2))
    assert codes.tolist() == [[0, 1, 0, 1], [2, 0, 0, 0]]  # the scale 0 has the code of the word 0


def test_a_sparse_weight_has_the_code_of_zero() -> None:
    one = np.ones(1, np.int32)
    sparse = SparseWeights(0 * one, 0 * one, one.astype(np.int8), np.ones(2, np.float32), one.astype(np.uint8))
    codes = codes_of_levels(np.zeros((2, 4), np.uint8), SCALE, TILES, BOOKS, sparse)
    assert codes[0, 0] == 1
