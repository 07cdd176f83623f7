"""How often each weight value stands in each tile."""

import numpy as np

from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.layer import mac_values
from haloquant.quant.tile_histogram import layer_tiles
from support.halo_layers import with_offsets
from support.quant_twins import NINE, SIXTEEN, quantized_layer

BOOKS = (SIXTEEN, NINE)


def test_histogram_counts_padding_as_zero() -> None:
    _, q = quantized_layer((50, 70), 32, None, sparse=True)
    tiles = layer_tiles(q)
    assert tiles.histogram.shape == (2, 3, tiles.values.size)
    assert np.all(tiles.histogram.sum(axis=2) == 32 * 32)
    values = mac_values(q)
    padded = np.zeros((64, 96), np.int16)
    padded[:50, :70] = values
    for d in range(2):
        for a in range(3):
            block = padded[d * 32 : d * 32 + 32, a * 32 : a * 32 + 32]
            assert tiles.histogram[d, a].tolist() == [int((block == value).sum()) for value in tiles.values]
    assert tiles.sparse_nnz == q.sparse.values.size
    assert tiles.bits == count_bits(q)
    moved = layer_tiles(with_offsets(q))  # an offset is one product of a token, as a sparse weight is
    assert moved.sparse_nnz == q.sparse.values.size + q.scale.size
    assert moved.bits.total == tiles.bits.total + 16 * q.scale.size
    assert np.array_equal(moved.histogram, tiles.histogram)
