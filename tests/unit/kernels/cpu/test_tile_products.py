"""Products with several tokens in one pass: vector code and plain loops against the slow twin."""

import numpy as np
import pytest
import torch

from haloquant.kernels import dispatch, fallback
from haloquant.kernels.cpu import tile_products
from support.halo_layers import NINE, codebook, random_layer
from support.packed_layers import BOOKS, layer, tokens, view

WIDEST = (-128, -127, -1, 0, 1, 2, 64, 100, 101, 102, 103, 104, 105, 106, 126, 127)
# Tiles of 128, 64, 32 and 96 inputs, borders that fill no tile, and rows that fill no group.
SHAPES = [(130, 172, 128), (70, 256, (23, 128)), (257, 192, 64), (13, 160, 32), (131, 192, (16, 96)), (1, 1, 128)]
SHAPES += [(70, 576, (70, 288))]  # inputs of a tile too many for vectors of integers
COUNTS = (1, 2, 3, 4, 7, 16, 19)


def results(kind: str, packed, x) -> np.ndarray:
    """Products with vector code and with plain loops, [2, tokens, out]."""
    product = getattr(tile_products, f"{kind}_products")
    y = np.empty((2, x.shape[0], packed.grid.out_features), np.float32)
    for vectors in (True, False):
        product(x.numpy(), *packed.arrays, vectors, y[int(vectors)])
    return y


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whole_numbers_are_those_of_the_slow_twin(shape) -> None:
    for count, books in zip(COUNTS, ["two", "nine", "bytes", "two", "nine", "two", "bytes"], strict=True):
        packed = layer(shape, books)[1]
        x, scale = fallback.round_tokens(tokens(count, shape[1]))
        x[0, 0] = -128
        wanted = fallback.integer_linear(x, scale, packed)
        assert torch.equal(dispatch.integer_linear(x, scale, packed), wanted)
        some = x[:16].contiguous()
        for y in results("integer", packed, some):
            assert np.array_equal(y, fallback.integer_linear(some, torch.ones(some.shape[0]), packed).numpy())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_floats_are_within_rounding_of_the_slow_twin(shape) -> None:
    for count, books in zip(COUNTS, ["nine", "two", "two", "bytes", "two", "nine", "two"], strict=True):
        packed = layer(shape, books)[1]
        x = tokens(min(count, 16), shape[1])
        weight = fallback.dequantize(packed).double()
        bound = 1e-6 * (x.double().abs() @ weight.abs().T) + 1e-12
        for y in results("float", packed, x):
            assert torch.all((torch.from_numpy(y).double() - x.double() @ weight.T).abs() <= bound)


@pytest.mark.parametrize("tile", [128, 64, 32])
def test_the_largest_words_and_inputs_do_not_saturate(tile) -> None:
    """Words of -128 and 127 alone, and inputs of +-127 and -128 alone."""
    for values in ((-128, 0, 127), WIDEST, (-127, 0, 127)):
        packed = view(random_layer(13, 256, tile, (codebook(values),), sparse=0))
        for code in (0, len(values) - 1):
            packed.packed.copy_(view_of_code(packed, code))
            for x in (-128, -127, 127):
                inputs = torch.full((3, 256), x, dtype=torch.int8)
                inputs[1, ::2] = 127
                wanted = fallback.integer_linear(inputs, torch.ones(3), packed)
                assert torch.equal(dispatch.integer_linear(inputs, torch.ones(3), packed), wanted)


def view_of_code(packed, code: int) -> torch.Tensor:
    """The stored bytes of a layer whose codes are all the same."""
    from haloquant.quant.format.bit_layout import encode

    grid = packed.grid
    codes = np.full((grid.out_features, grid.in_features), code, np.uint8)
    return torch.from_numpy(encode(codes, packed.classes.numpy(), packed.sizes, grid))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_reaches_every_output_of_its_token_only(value) -> None:
    packed = layer((130, 172, 128), "two")[1]
    x = tokens(5, 172)
    x[2, 7] = value
    y = dispatch.linear(x, packed)
    assert not torch.isfinite(y[2]).any()
    assert torch.isfinite(y[[0, 1, 3, 4]]).all()


def test_more_threads_than_rows_of_tiles() -> None:
    packed = view(random_layer(3, 256, 128, (codebook(NINE), *BOOKS["two"])))
    x = tokens(2, 256)
    before = torch.get_num_threads()
    try:
        one, many = [], []
        for threads, found in ((1, one), (2, many)):
            torch.set_num_threads(threads)
            found.append(dispatch.linear(x, packed))
            found.append(dispatch.integer_linear(*fallback.round_tokens(x), packed))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))
