"""Products that read only the columns whose input is not zero, against products that read all of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from haloquant.kernels import dispatch, fallback
from haloquant.kernels.cpu import column_products
from haloquant.kernels.cpu.column_instructions import digit_outputs, nibble_outputs
from haloquant.kernels.cpu.column_products import ColumnTiles, by_column, column_product, fits
from haloquant.kernels.cpu.vector_operations import Avx2, Neon
from haloquant.kernels.layer_tensors import PackedLayer
from support.packed_layers import layer, tokens

# Whole tiles, borders of a row, of a few rows and of odd inputs, and tiles of other lengths than 128.
SHAPES = [(384, 256, 128), (129, 172, 128), (130, 515, 128), (1, 1, 128), (300, 96, (128, 32))]
needs_vectors = pytest.mark.skipif(not column_products.AVAILABLE, reason="this CPU has neither AVX2 nor NEON")


def columns_of(packed: PackedLayer) -> ColumnTiles:
    return by_column(fallback.unpack_codes(packed).numpy(), packed.arrays)


def left_out(x: torch.Tensor, share: float, seed: int = 3) -> torch.Tensor:
    """The inputs with zeros in place of a share of them."""
    return x * torch.from_numpy(np.random.default_rng(seed).random(x.shape) >= share).to(x.dtype)


@pytest.mark.parametrize("operations", [Avx2, Neon])
def test_every_output_has_one_place_in_a_column(operations) -> None:
    assert sorted(nibble_outputs(operations).ravel()) == list(range(128))
    digits = digit_outputs(operations).ravel()
    assert sorted(digits[digits >= 0]) == list(range(128))


@needs_vectors
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("books", ["two", "nine"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, 1.0])
def test_whole_numbers_are_those_of_the_dense_kernel_bit_for_bit(shape, books, share) -> None:
    packed = layer(shape, books)[1]
    x = fallback.round_tokens(left_out(tokens(1, shape[1]), share))[0]
    wanted = fallback.integer_linear(x, torch.ones(1), packed)
    assert torch.equal(dispatch.integer_linear(x, torch.ones(1), packed), wanted)
    y = np.empty(shape[0], np.float32)
    column_product(x[0].float().numpy(), columns_of(packed), packed.arrays, y, x[0].numpy())
    assert np.array_equal(y, wanted[0].numpy())


@needs_vectors
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("books", ["two", "nine"])
def test_floats_are_within_rounding_and_zeros_change_no_bit(shape, books) -> None:
    """Columns that are left out give the same bits as columns that are multiplied by a number below rounding."""
    packed = layer(shape, books)[1]
    x = left_out(tokens(1, shape[1]), 0.5)
    weight = fallback.dequantize(packed).double()
    columns = columns_of(packed)
    y, all_read = np.empty((2, shape[0]), np.float32)
    column_product(x[0].numpy(), columns, packed.arrays, y)
    bound = 1e-6 * (x.double().abs() @ weight.abs().T) + 1e-12
    assert torch.all((torch.from_numpy(y).double() - (x.double() @ weight.T)[0]).abs() <= bound[0])
    tiny = torch.where(x == 0, torch.finfo(torch.float32).tiny, x)
    column_product(tiny[0].numpy(), columns, packed.arrays, all_read)
    assert np.array_equal(np.where(abs(y) < 1e-30, 0, y), np.where(abs(all_read) < 1e-30, 0, all_read))


def test_layers_that_do_not_fit_take_the_dense_kernel() -> None:
    assert not fits(64, (9, 16))
    assert not fits(128, (9, 17))
    assert fits(128, (9, 16)) == column_products.AVAILABLE


@needs_vectors
@pytest.mark.parametrize("share", [0.0, 0.6, 0.9])
@pytest.mark.parametrize(("exponent", "offset"), [(0, False), (3, True)])
def test_a_layer_with_columns_gives_what_it_gives_without(share, exponent, offset) -> None:
    """The way that a packed model takes: few columns go through the kernel by columns, many through the dense one."""
    dense = layer((256, 384, 128), "two")[1]
    drawn = torch.from_numpy(np.random.default_rng(5).normal(size=(256, 3)).astype(np.float16))
    dense = replace(dense, exponent=exponent, tile_offset=drawn if offset else None)
    sparse = replace(dense, columns=columns_of(dense))
    x = left_out(tokens(1, 384), share)
    bound = 1e-5 * float(dispatch.linear(x, dense).abs().max())
    assert torch.allclose(dispatch.linear(x, sparse), dispatch.linear(x, dense), rtol=1e-5, atol=bound)
    assert torch.equal(dispatch.rounded_linear(x, sparse), dispatch.rounded_linear(x, dense))
    several = torch.cat([x, tokens(2, 384)])  # several tokens take the dense way
    assert torch.equal(dispatch.linear(several, sparse), dispatch.linear(several, dense))
