"""Stored bits of a HALO layer, counted as the packed format stores them (`quant.packing`)."""

import numpy as np

from haloquant.types import BitCount, QuantizedWeight, SparseWeights, TileMap


def count_bits(q: QuantizedWeight) -> BitCount:
    """Stored bits of one layer by what they store."""
    return BitCount(
        weights=q.codes.size,
        codes=code_bits(q.tiles, tuple(codebook.values.size for codebook in q.codebooks)),
        scales=16 * q.scale.size,
        sparse=sparse_bits(q.sparse, q.codes.shape[0]),
        codebooks=sum(8 * codebook.values.size for codebook in q.codebooks) + 8 * q.tiles.codebook.size,
    )


def code_bits(tiles: TileMap, sizes: tuple[int, ...]) -> int:
    """Bits of the indices: whole rows of each tile, padded as stored."""
    grid = tiles.grid
    lengths = np.minimum(grid.tile_in, grid.in_features - grid.tile_in * np.arange(grid.across))
    rows = np.minimum(grid.tile_out, grid.out_features - grid.tile_out * np.arange(grid.down))
    total = 0
    for index, size in enumerate(sizes):
        per_row = np.array([row_bits(int(length), size) for length in lengths])
        total += int((rows[:, None] * np.where(tiles.codebook == index, per_row[None, :], 0)).sum())
    return total


def row_bits(length: int, size: int) -> int:
    """Bits of one row of a tile: five base-9 digits in 16 bits for at most 9 words, 4 bits for 16, else a byte each."""
    if size <= 9:
        return 16 * -(-length // 5)
    if size <= 16:
        return 8 * -(-length // 2)
    return 8 * length


def sparse_bits(sparse: SparseWeights, out_features: int) -> int:
    """Bits of int8 values, 16-bit columns, a kind bit each (whole bytes), 32-bit row pointers, float16 scale per
    row.
    """
    count = sparse.values.size
    if count == 0:
        return 0
    return count * (8 + 16) + 8 * -(-count // 8) + 32 * (out_features + 1) + 16 * out_features
