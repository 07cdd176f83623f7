"""Codebooks times scales as ascending levels, which is what error compensation rounds to, and back to codes."""

import numpy as np
from jaxtyping import Float32, UInt8

from haloquant.quant.tiles import word_table
from haloquant.records import Codebook, SparseWeights, TileMap


def level_table(
    scale: Float32[np.ndarray, "out across"], tiles: TileMap, codebooks: tuple[Codebook, ...]
) -> Float32[np.ndarray, "out across most"]:
    """What every output channel may use in each of its tiles, ascending, padded with +inf.

    A negative scale turns the codebook around; `codes_of_levels` turns the indices back.
    """
    table, sizes = word_table(codebooks)
    classes = np.repeat(tiles.codebook, tiles.grid.tile_out, axis=0)[: tiles.grid.out_features]
    levels = np.full((*scale.shape, table.shape[1]), np.inf, np.float32)
    for index, size in enumerate(sizes):
        words = table[index, :size]
        for turned in (False, True):
            here = (classes == index) & ((scale < 0) == turned)
            levels[here, :size] = scale[here][:, None] * (words[::-1] if turned else words)
    return levels


def codes_of_levels(
    indices: UInt8[np.ndarray, "out in"],
    scale: Float32[np.ndarray, "out across"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    sparse: SparseWeights,
) -> UInt8[np.ndarray, "out in"]:
    """Codes from indices of levels; 0's code where the scale is 0 or the sparse part holds the weight."""
    grid = tiles.grid
    _, sizes = word_table(codebooks)
    zeros = np.array([int(np.searchsorted(codebook.values, 0)) for codebook in codebooks], np.uint8)
    codes = np.empty_like(indices)
    for a in range(grid.across):
        part = slice(a * grid.tile_in, (a + 1) * grid.tile_in)
        classes = np.repeat(tiles.codebook[:, a], grid.tile_out)[: grid.out_features]
        factor, found = scale[:, a, None], indices[:, part]
        turned = np.where(factor < 0, (sizes[classes, None] - 1 - found).astype(np.uint8), found)
        codes[:, part] = np.where(factor == 0, zeros[classes, None], turned)
    at = tiles.codebook[sparse.rows // grid.tile_out, sparse.cols // grid.tile_in]
    codes[sparse.rows, sparse.cols] = zeros[at]
    return codes
