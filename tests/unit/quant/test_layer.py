"""One layer into HALO form and back."""

import numpy as np
import pytest

from haloquant.errors import CheckpointError, InputError
from haloquant.quant.format.packing import pack
from haloquant.quant.layer import dequantize, mac_values, quantize_weight, quantize_weight_compensated
from haloquant.quant.reference.layer_results import layer_result
from haloquant.quant.tile_histogram import layer_tiles
from haloquant.quant.tiles import make_grid, uniform_map
from support.quant_twins import NINE, SIXTEEN, book, quantized_layer, random_statistics, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)


def test_by_hand() -> None:
    # One row, one tile, words -128 0 64: with scale 1/64 the weights -2, 0, 1 are met exactly.
    weight = np.array([[-2.0, 0.0, 1.0, 1.0]], np.float32)
    q = quantize_weight(weight, tiles=tile_map((1, 4), 4, 4), codebooks=(book([-128, 0, 64]),))
    assert q.codes.tolist() == [[0, 1, 2, 2]]
    assert q.scale.tolist() == [[1 / 64]]
    assert dequantize(q).tolist() == weight.tolist()
    assert mac_values(q).tolist() == [[-128, 0, 64, 64]]


def test_a_lopsided_set_is_turned_around() -> None:
    # The long side of the words is negative, that of the weights positive.
    weight = np.array([[2.0, 0.0, -1.0, -1.0]], np.float32)
    q = quantize_weight(weight, tiles=tile_map((1, 4), 4, 4), codebooks=(book([-128, 0, 64]),))
    assert q.scale.tolist() == [[-1 / 64]]
    assert dequantize(q).tolist() == weight.tolist()


def test_meaning_word_by_word() -> None:
    _, q = quantized_layer(classes=None, sparse=True)
    want = np.zeros(q.codes.shape, np.float32)
    for o in range(q.codes.shape[0]):
        for i in range(q.codes.shape[1]):
            words = BOOKS[q.tiles.codebook[o // 32, i // 32]].values
            want[o, i] = np.float32(words[q.codes[o, i]]) * q.scale[o, i // 32]
    for row, col, value in zip(q.sparse.rows, q.sparse.cols, q.sparse.values, strict=True):
        assert want[row, col] == 0
        want[row, col] = value * q.sparse.scale[row]
    assert np.array_equal(dequantize(q), want)


def test_padding_is_reported() -> None:
    _, q = quantized_layer()
    assert layer_result(q).notes == (f"{64 * 96 - 50 * 70} places of 6 tiles are padding",)


def test_a_layer_smaller_than_a_tile() -> None:
    weight, q = quantized_layer((3, 5), 128)
    assert q.scale.shape == (3, 1)
    assert np.abs(dequantize(q) - weight).max() < np.abs(weight).max() / 4
    assert layer_tiles(q).histogram.sum() == 128 * 128


def test_zero_tiles_stay_zero() -> None:
    weight = random_weight(1, 64, 64)
    weight[:32] = 0
    statistics = random_statistics(1, 64, 64)
    for q in (
        quantize_weight(weight, tiles=tile_map((64, 64), 32, 32), codebooks=BOOKS),
        quantize_weight_compensated(weight, tiles=tile_map((64, 64), 32, 32), codebooks=BOOKS, statistics=statistics),
    ):
        assert not dequantize(q)[:32].any()
        assert not mac_values(q)[:32].any()
        assert not q.scale[:32].any()


def test_weights_too_small_for_float16_scales() -> None:
    weight = random_weight(2, 16, 32) * np.float32(1e-6)
    q = quantize_weight(weight, tiles=tile_map((16, 32), 32, 32), codebooks=(NINE,))
    assert np.array_equal(q.scale, q.scale.astype(np.float16).astype(np.float32))
    assert np.sum((dequantize(q) - weight) ** 2) <= np.sum(weight**2)


def test_no_hessian_no_compensation() -> None:
    from dataclasses import replace

    statistics = replace(random_statistics(0, 8, 8), hessian=None, source="fisher alone")
    with pytest.raises(InputError) as caught:
        quantize_weight_compensated(
            random_weight(0, 8, 8), tiles=tile_map((8, 8), 4, 4), codebooks=BOOKS, statistics=statistics
        )
    assert str(caught.value) == (
        "layer 'layer': error compensation needs the layer Hessian, not statistics from 'fisher alone'; collect "
        "calibration with Hessians, or choose a data-free method such as rounding to nearest"
    )


def test_weights_beyond_a_float16_scale_are_refused() -> None:
    """Without this check the scales are clipped to 65504, and the weights come out wrong."""
    weight = np.array([[1.0, -1e30], [2.0, 3.0]], np.float32)
    tiles = uniform_map("l", make_grid(2, 2, 2, 2))
    said = (
        r"^weight of l must be at most 65504 in magnitude, as scales are stored in float16, not 1e\+30: the checkpoint"
    )
    with pytest.raises(CheckpointError, match=said):
        quantize_weight(weight, tiles=tiles, codebooks=(SIXTEEN,))
    made = quantize_weight(
        np.array([[65504.0, 0.0]], np.float32), tiles=uniform_map("l", make_grid(1, 2, 2, 2)), codebooks=(SIXTEEN,)
    )
    np.testing.assert_allclose(dequantize(made), [[65504.0, 0.0]], rtol=0.01)


def test_scales_of_zero_mean_zeros() -> None:
    tiles = uniform_map("l", make_grid(4, 4, 2, 2))
    made = quantize_weight(np.zeros((4, 4), np.float32), tiles=tiles, codebooks=(SIXTEEN,))
    assert np.isfinite(made.scale).all()
    assert not dequantize(made).any()
    assert pack(made)["weight_scale"].dtype == np.float16
