"""Stored bits of a layer, counted without packing."""

import numpy as np
import pytest

from haloquant.quant.format.packing import pack, packed_bits, unpack
from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.layer import dequantize
from support.halo_layers import random_layer
from support.quant_twins import NINE, SIXTEEN, quantized_layer

BOOKS = (SIXTEEN, NINE)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("shape", [(50, 70), (128, 128), (1, 7), (300, 33)])
def test_bits_are_those_of_the_packed_format(shape, sparse) -> None:
    _, q = quantized_layer(shape, classes=None, sparse=sparse)
    packed = pack(q)
    assert count_bits(q) == packed_bits(packed, BOOKS)
    assert np.array_equal(dequantize(unpack(packed, "layer", BOOKS, 32, 32)), dequantize(q))


def test_bits_of_whole_tiles_by_hand() -> None:
    sixteen = quantized_layer((128, 256), 128, 0)[1]
    bits = count_bits(sixteen)
    assert bits.codes == 4 * 128 * 256
    assert bits.scales == 16 * 128 * 2
    nine = quantized_layer((256, 512), 128, 1)[1]
    # Of 128 rows, 125 go five to a 16-bit word and 3 in nibbles: (25 x 16 + 3 x 4) / 128 = 3.21875 bits.
    assert count_bits(nine).codes == 3.21875 * 256 * 512
    assert count_bits(nine).per_weight < 3.35


SHAPES = [(384, 256, 128), (130, 172, 128), (64, 64, 128), (1, 1, 128), (37, 41, (7, 11)), (33, 65, 32), (6, 5, 1)]


@pytest.mark.parametrize("sparse", [0, 0.01])
@pytest.mark.parametrize(("out_features", "in_features", "tile"), SHAPES)
def test_the_quantizer_counts_what_is_stored(out_features, in_features, tile, sparse) -> None:
    q = random_layer(out_features, in_features, tile, sparse=sparse)
    assert count_bits(q) == packed_bits(pack(q), q.codebooks)
