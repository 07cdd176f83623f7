"""Tiles drawn for a named shape have the shares of the measured layers, counted here by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.workload.model_shapes import ModelShape
from haloquant.accel.workload.prefill_decode import prefill
from haloquant.jobs.machines.drawn_tiles import draw_tiles, mean_input_bits
from haloquant.quant.tiles import make_grid
from haloquant.records import BitCount, InputBits, LayerTiles

SHAPE = ModelShape("wide", "llama", 64, 128, 2, 4, 4, 96)


def measured() -> dict[str, LayerTiles]:
    """A layer of 16 x 12 in tiles of 8: two full tiles of class 0, two of class 1 that are half padding."""
    grid = make_grid(16, 12, 8, 8)
    classes = np.array([[0, 1], [0, 1]], np.uint8)
    histogram = np.zeros((2, 2, 3), np.int64)
    histogram[:, 0] = [16, 32, 16]  # 64 weights
    histogram[:, 1] = [0, 40, 24]  # 32 weights, of which 8 are 0, and 32 places of padding
    bits = BitCount(weights=192, codes=4 * 192, scales=16 * 16 * 2, sparse=4 * 32, codebooks=4 * 8)
    return {"a": LayerTiles("a", grid, classes, np.array([-4, 0, 4], np.int16), histogram, 4, bits)}


def test_shares_of_classes_values_and_bits_are_those_of_the_measured_layers() -> None:
    drawn = draw_tiles(measured(), prefill(SHAPE, 4), 8, 0)
    assert "lm_head" not in drawn and len(drawn) == 2 * 7
    up = drawn["model.layers.0.mlp.up_proj"]
    assert (up.grid.down, up.grid.across) == (16, 8)
    assert np.count_nonzero(up.classes == 0) == np.count_nonzero(up.classes == 1) == 64
    assert up.values.tolist() == [-4, 0, 4]
    assert up.histogram[up.classes == 0][0].tolist() == [16, 32, 16]
    assert up.histogram[up.classes == 1][0].tolist() == [0, 16, 48]  # 8 of 32 are 0, so 16 of 64
    weights = 128 * 64
    assert up.bits.codes == 4 * weights
    assert up.bits.scales == 16 * 128 * 8
    assert up.bits.codebooks == 8 * 128  # a byte for each tile
    assert up.sparse_nnz == round(weights * 4 / 192) and up.bits.sparse == pytest.approx(32 * up.sparse_nnz)


def test_the_seed_moves_the_tiles_and_a_method_without_integers_has_none() -> None:
    first, again, other = (draw_tiles(measured(), prefill(SHAPE, 4), 8, seed) for seed in (0, 0, 1))
    name = "model.layers.0.mlp.up_proj"
    assert np.array_equal(first[name].classes, again[name].classes)
    assert not np.array_equal(first[name].classes, other[name].classes)
    assert draw_tiles({}, prefill(SHAPE, 4), 8, 0) == {}


def test_bits_of_inputs_are_those_of_the_measured_layers_with_the_mean_share() -> None:
    (layer,) = measured().values()
    small = replace(layer, grid=make_grid(16, 4, 8, 8), input_bits=InputBits(8, 4, 0.2))
    both = [replace(layer, input_bits=InputBits(8, 4, 0.6)), small]
    found = mean_input_bits(both)
    assert found is not None and (found.bits, found.low_bits) == (8, 4)
    assert found.low_share == pytest.approx((192 * 0.6 + 64 * 0.2) / 256)
    assert mean_input_bits([layer]) is None
    drawn = draw_tiles({"a": both[0]}, prefill(SHAPE, 4), 8, 0)
    assert {part.input_bits for part in drawn.values()} == {InputBits(8, 4, 0.6)}
