"""Products of one token with several layers at once against those of each layer alone."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import torch

from haloquant.kernels import dispatch
from haloquant.kernels.cpu.gemv import FAST_INTEGERS
from haloquant.kernels.cpu.stored_arrays import dense_record, packed_record, rounded_record
from haloquant.kernels.cpu.token_products import integer_products, integer_products_of_128, products_of
from support.halo_layers import random_layer, with_offsets
from support.packed_layers import BOOKS, layer, tokens, view


def joint(x: torch.Tensor, stored) -> np.ndarray:
    """The products of layers, one behind the other."""
    records = np.stack([each.records for each in stored])
    y = np.full(int(records["out"].sum()), np.nan, np.float32)
    product = products_of(records)
    assert product is not None
    product(x[0].numpy(), records.ctypes.data, records.size, y)
    return y


def bias_of(outputs: int, half: bool) -> tuple[np.ndarray, torch.Tensor]:
    """A bias as the kernels take it, and its exact values."""
    drawn = torch.from_numpy(np.random.default_rng(outputs).normal(0, 1, outputs).astype(np.float32))
    if half:
        return drawn.to(torch.bfloat16).view(torch.uint16).numpy(), drawn.to(torch.bfloat16).float()
    return drawn.numpy(), drawn


def alone(x: torch.Tensor, packed, rounded: bool) -> torch.Tensor:
    return (dispatch.rounded_linear(x, packed) if rounded else dispatch.linear(x, packed))[0]


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("tile", [128, 64, (23, 128), (7, 11)], ids=str)
def test_packed_layers_give_the_bits_that_each_gives_alone(tile, rounded) -> None:
    x = tokens(1, 300)
    layers = [layer((out, 300, tile), books, seed=out)[1] for out, books in ((130, "two"), (1, "nine"), (70, "bytes"))]
    layers[1] = replace(layers[1], exponent=3)
    biases = [bias_of(130, False), None, bias_of(70, True)]
    stored = [packed_record(each, b and b[0], rounded) for each, b in zip(layers, biases, strict=True)]
    wanted = [alone(x, each, rounded) for each in layers]
    wanted = [y if b is None else y + b[1] for y, b in zip(wanted, biases, strict=True)]
    np.testing.assert_array_equal(joint(x, stored), torch.cat(wanted).numpy())


@pytest.mark.parametrize("rounded", [False, True])
def test_offsets_of_tiles_are_added(rounded) -> None:
    x = tokens(1, 300)
    packed = view(with_offsets(random_layer(140, 300, 128, BOOKS["two"])))
    plain = replace(packed, tile_offset=None)
    found = joint(x, [packed_record(packed, None, rounded), packed_record(plain, None, rounded)])
    np.testing.assert_allclose(found[:140], alone(x, packed, rounded), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[140:], alone(x, plain, rounded))
    assert np.abs(found[:140] - found[140:]).max() > 1e-3


@pytest.mark.parametrize("rounded", [False, True, None])
def test_some_layers_may_be_in_full_precision(rounded) -> None:
    x = tokens(1, 256)
    packed = layer((200, 256, 128), "two")[1]
    dense = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (67, 256)).astype(np.float32))
    codes = torch.randint(-127, 128, (65, 256), generator=torch.Generator().manual_seed(2), dtype=torch.int8)
    scale = torch.rand(65, generator=torch.Generator().manual_seed(3))
    half = dense.to(torch.bfloat16)
    bias, added = bias_of(67, True)
    stored = [
        dense_record(dense.numpy(), bias),
        dense_record(half.view(torch.uint16).numpy(), None),
        rounded_record(codes.numpy(), scale.numpy(), None),
        *([] if rounded is None else [packed_record(packed, None, rounded)]),
    ]
    found = joint(x, stored)
    if rounded is not None:
        np.testing.assert_array_equal(found[199:], alone(x, packed, rounded))
    exact = x[0].double()
    weights = [dense.double(), half.double(), codes.double() * scale[:, None].double()]
    wanted = torch.cat([weight @ exact for weight in weights])
    wanted[:67] += added
    np.testing.assert_allclose(found[:199], wanted, rtol=1e-4, atol=1e-4)


def test_layers_of_several_kinds_have_no_product() -> None:
    packed, other = layer((70, 256, 128), "two")[1], layer((70, 256, 64), "two")[1]
    for pair in ([(packed, True), (packed, False)], [(packed, False), (other, False)]):
        records = np.stack([packed_record(each, None, rounded).records for each, rounded in pair])
        assert products_of(records) is None
    rounded = np.stack([packed_record(packed, None, True).records])
    assert products_of(rounded) is (integer_products_of_128 if FAST_INTEGERS else integer_products)


def test_a_nan_or_an_infinity_among_the_inputs_stays() -> None:
    packed = layer((130, 256, 128), "two")[1]
    dense = dense_record(np.ones((3, 256), np.float32), None)
    for rounded in (False, True):
        for value in (np.nan, np.inf):
            x = tokens(1, 256)
            x[0, 5] = value
            found = joint(x, [packed_record(packed, None, rounded), dense])
            assert np.isnan(found[:130]).any() if rounded or np.isnan(value) else not np.isfinite(found[:130]).all()
            assert np.isnan(found[130:]).all() if np.isnan(value) else np.isposinf(found[130:]).all()


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="numba has one thread here")
@pytest.mark.parametrize("rounded", [False, True])
def test_the_bits_do_not_depend_on_the_threads(rounded) -> None:
    x = tokens(1, 300)
    stored = [packed_record(layer((390, 300, 128), books)[1], None, rounded) for books in ("two", "nine")]
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            dispatch.share_threads()
            found.append(joint(x, stored))
    finally:
        torch.set_num_threads(before)
        dispatch.share_threads()
    np.testing.assert_array_equal(*found)
