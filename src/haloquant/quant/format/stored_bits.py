"""Stored bits of a HALO layer, by the rules of the packed format (`quant.packing`, `quant.encodings`)."""

import numpy as np

from haloquant.quant.format.bit_layout import tile_offsets
from haloquant.quant.format.packing import count_type
from haloquant.records import BitCount, QuantizedWeight, SparseWeights


def count_bits(q: QuantizedWeight) -> BitCount:
    """Stored bits of one layer by what they store: equal to `packing.packed_bits(packing.pack(q))`, without packing."""
    sizes = tuple(codebook.values.size for codebook in q.codebooks)
    return BitCount(
        weights=q.codes.size,
        codes=8 * int(tile_offsets(q.tiles.grid, q.tiles.codebook, sizes)[-1]),
        scales=16 * q.scale.size,
        sparse=sparse_bits(q.sparse, q.codes.shape[0], q.codes.shape[1]),
        codebooks=8 * q.tiles.codebook.size + 64 + 8 * sum(sizes),  # class map, shape, words
    )


def sparse_bits(sparse: SparseWeights, out_features: int, in_features: int) -> int:
    """Bits of values, columns, kinds (whole bytes), the count of every row and a float16 scale per output channel."""
    count = sparse.values.size
    if count == 0:
        return 0
    column = 16 if in_features <= 65536 else 32
    row = 8 * np.dtype(count_type(int(np.bincount(sparse.rows).max()))).itemsize
    return count * (8 + column) + 8 * -(-count // 8) + (row + 16) * out_features
