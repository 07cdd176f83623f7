"""Stored bits of a layer in HALO form, counted by the rules of the packed format (`packing`, `bit_layout`)."""

import numpy as np

from haloquant.quant.format.bit_layout import tile_offsets
from haloquant.quant.format.packing import common_exponent, count_type, sizes_of
from haloquant.records import BitCount, QuantizedWeight, SparseWeights


def count_bits(q: QuantizedWeight) -> BitCount:
    """Return the stored bits of one layer by purpose. Equal to `packed_bits(pack(q))`, without packing."""
    sizes = sizes_of(q.codebooks)
    shape = 96 if common_exponent(q) else 64
    return BitCount(
        weights=q.codes.size,
        codes=8 * int(tile_offsets(q.tiles.grid, q.tiles.codebook, sizes)[-1]),
        scales=16 * q.scale.size + (0 if q.offset is None else 16 * q.offset.size),
        sparse=sparse_bits(q.sparse, q.codes.shape[0], q.codes.shape[1]),
        codebooks=8 * q.tiles.codebook.size + shape + 8 * sum(sizes),  # class map, shape, words
    )


def sparse_bits(sparse: SparseWeights, out_features: int, in_features: int) -> int:
    """Return the bits of the sparse part; 0 if it is empty.

    It stores value, column and kind (1 bit, in whole bytes) of every weight, and the count and the float16 scale of
    every row.
    """
    count = sparse.values.size
    if count == 0:
        return 0
    column = 16 if in_features <= 65536 else 32
    row = 8 * np.dtype(count_type(int(np.bincount(sparse.rows).max()))).itemsize
    return count * (8 + column) + 8 * -(-count // 8) + (row + 16) * out_features
