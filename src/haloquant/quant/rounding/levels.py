"""Codebooks times scales as ascending levels, and conversion of the index of a level to the code of a word.

Error compensation rounds to levels. With a negative scale the order of the words is reversed.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from haloquant.quant.tiles import classes_by_row, word_table
from haloquant.records import Codebook, SparseWeights, TileMap


def level_table(
    scale: Float32[np.ndarray, "out across"], tiles: TileMap, codebooks: tuple[Codebook, ...]
) -> Float32[np.ndarray, "out across most"]:
    """Return the values that each output channel may use in each of its tiles, ascending, padded with +inf."""
    table, sizes = word_table(codebooks)
    classes = classes_by_row(tiles)
    levels = np.full((*scale.shape, table.shape[1]), np.inf, np.float32)
    for index, size in enumerate(sizes):
        words = table[index, :size]
        for negative in (False, True):
            here = (classes == index) & ((scale < 0) == negative)
            levels[here, :size] = scale[here][:, None] * (words[::-1] if negative else words)
    return levels


def codes_of_levels(
    indices: UInt8[np.ndarray, "out in"],
    scale: Float32[np.ndarray, "out across"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    sparse: SparseWeights,
) -> UInt8[np.ndarray, "out in"]:
    """Return the codes that belong to indices into `level_table`.

    Where the scale is 0 or the sparse part holds the weight, the code is that of the word 0.
    """
    grid = tiles.grid
    _, sizes = word_table(codebooks)
    zeros = np.array([int(np.searchsorted(codebook.values, 0)) for codebook in codebooks], np.uint8)
    codes = np.empty_like(indices)
    by_row = classes_by_row(tiles)
    for a in range(grid.across):
        part = slice(a * grid.tile_in, (a + 1) * grid.tile_in)
        classes, factor, index = by_row[:, a, None], scale[:, a, None], indices[:, part]
        unreversed = np.where(factor < 0, (sizes[classes] - 1 - index).astype(np.uint8), index)
        codes[:, part] = np.where(factor == 0, zeros[classes], unreversed)
    at = tiles.codebook[sparse.rows // grid.tile_out, sparse.cols // grid.tile_in]
    codes[sparse.rows, sparse.cols] = zeros[at]
    return codes
