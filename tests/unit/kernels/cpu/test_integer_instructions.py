"""One token in int8 with AVX-512 and VNNI gives the whole numbers of the slow twin, bit for bit."""

import numpy as np
import pytest
import torch

from haloquant.kernels import fallback
from haloquant.kernels.cpu import gemv
from haloquant.kernels.cpu.integer_instructions import WIDTH, integer_orders
from support.halo_layers import codebook, random_layer
from support.packed_layers import KINDS, layer, tokens, view

needs_vnni = pytest.mark.skipif(not gemv.FAST_INTEGERS, reason="needs a CPU with AVX-512 and VNNI")
# Behind whole tiles stand 0, 1, 3, 44, 65, 96 inputs; rows fill no sixteen, no five, and one row stands alone.
SHAPES = [
    (384, 256, 128), (1, 1, 128), (300, 515, 128), (130, 172, 128), (70, 256, (23, 128)), (131, 577, 128),
    (130, 224, 128), (5, 32, 128), (17, 193, (300, 128)),
]  # fmt: skip


def product(codes: torch.Tensor, packed) -> np.ndarray:
    y = np.full(packed.grid.out_features, np.nan, np.float32)
    gemv.integer_gemv(codes[0].numpy(), *packed.arrays, y=y)
    return y


@needs_vnni
@KINDS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_numbers_are_those_of_the_slow_twin(shape, books) -> None:
    packed = layer(shape, books)[1]
    x, _ = fallback.round_tokens(tokens(1, shape[1]))
    x[0, 0] = -128
    assert np.array_equal(product(x, packed), fallback.integer_linear(x, torch.ones(1), packed)[0].numpy())


@needs_vnni
@pytest.mark.parametrize("values", [(-128, 0, 127), (-128, *range(-7, 7), 127)], ids=len)
def test_the_largest_words_and_inputs_do_not_saturate(values) -> None:
    packed = view(random_layer(40, 256, 128, (codebook(values),), sparse=0))
    generator = torch.Generator().manual_seed(1)
    signs = torch.randint(0, 2, (1, 256), generator=generator) * 2 - 1
    for x in (torch.full((1, 256), -128), torch.full((1, 256), 127), 127 * signs):
        codes = x.to(torch.int8)
        assert np.array_equal(product(codes, packed), fallback.integer_linear(codes, torch.ones(1), packed)[0].numpy())


@needs_vnni
def test_a_scale_without_a_number_reaches_its_row_alone() -> None:
    packed = layer((131, 300, 128), "two", sparse=0)[1]
    packed.scale[17, 1] = torch.nan
    found = product(torch.ones(1, 300, dtype=torch.int8), packed)
    assert np.flatnonzero(np.isnan(found)).tolist() == [17]


def test_orders_name_each_input_of_a_tile_once() -> None:
    for order in integer_orders():
        assert sorted(order.tolist()) == list(range(WIDTH))
