"""Stored bits of a HALO layer, by the rules of the packed format (`quant.packing`, `quant.encodings`)."""

from haloquant.quant.encodings import tile_offsets
from haloquant.types import BitCount, QuantizedWeight, SparseWeights


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
    """Bits of values, columns, kinds (whole bytes), 32-bit row pointers and a float16 scale per output channel."""
    count = sparse.values.size
    if count == 0:
        return 0
    column = 16 if in_features <= 65536 else 32
    return count * (8 + column) + 8 * -(-count // 8) + (32 * (out_features + 1)) + 16 * out_features
