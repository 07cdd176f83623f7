"""How often each weight value stands in each tile."""

import numpy as np

from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.layer import mac_values, quantize_weight
from haloquant.quant.sparse import split
from haloquant.quant.tile_histogram import layer_tiles
from support.quant_twins import NINE, SIXTEEN, random_statistics, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)


def made(shape=(50, 70), tile=32, classes=0, sparse=False, seed=0):
    weight = random_weight(seed, *shape)
    part = split(weight, random_statistics(seed, *shape))[0] if sparse else None
    classes = (
        np.random.default_rng(seed).integers(0, 2, (-(-shape[0] // tile), -(-shape[1] // tile)))
        if classes is None
        else classes
    )
    return weight, quantize_weight(weight, tiles=tile_map(shape, tile, tile, classes), codebooks=BOOKS, sparse=part)


def test_histogram_counts_padding_as_zero() -> None:
    _, q = made((50, 70), 32, None, sparse=True)
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
