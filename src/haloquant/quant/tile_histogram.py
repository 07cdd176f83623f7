"""How often each weight value occurs in each tile. The accelerator model needs this of a quantized layer."""

import numpy as np

from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.rounding.numba_kernels import count_codes
from haloquant.records import LayerTiles, QuantizedWeight


def layer_tiles(q: QuantizedWeight) -> LayerTiles:
    """Return the histogram of weight values of every tile, [down, across, values].

    Padding and the places of sparse weights count as value 0, so every tile sums to tile_out x tile_in. An offset is
    one product of a token, with the sum of the tile's activations, as a sparse weight is: it counts among them.
    """
    grid = q.tiles.grid
    values = np.unique(np.concatenate([codebook.values for codebook in q.codebooks]))
    counts = np.zeros((grid.down, grid.across, max(codebook.values.size for codebook in q.codebooks)), np.int64)
    count_codes(q.codes, q.tiles.codebook, grid.tile_out, grid.tile_in, counts)
    narrow = np.min_scalar_type(-grid.tile_out * grid.tile_in)  # saves memory: a model of 70B weights has 4M tiles
    histogram = np.zeros((grid.down, grid.across, values.size), narrow)
    for index, codebook in enumerate(q.codebooks):
        down, across = np.nonzero(q.tiles.codebook == index)
        places = np.searchsorted(values, codebook.values)
        histogram[down[:, None], across[:, None], places[None, :]] = counts[down, across, : codebook.values.size]
    histogram[:, :, int(np.searchsorted(values, 0))] += grid.tile_out * grid.tile_in - histogram.sum(axis=2)
    beside = q.sparse.values.size + (0 if q.offset is None else q.offset.size)
    return LayerTiles(q.layer, grid, q.tiles.codebook, values, histogram, beside, count_bits(q))
