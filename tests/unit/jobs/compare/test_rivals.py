"""A rival's integers as the MAC multiplies them."""

from dataclasses import replace

import numpy as np

from haloquant.jobs.compare.rivals import array_tiles
from haloquant.records import BitCount, LayerResult, TileGrid
from support.accel_cases import toy_profile

GRID = TileGrid(2, 3, 2, 3)


def test_integers_take_the_place_where_they_are_fastest() -> None:
    toy = toy_profile()
    delay = np.ones_like(toy.delay_s)
    delay[:, ~np.isin(toy.weights, (-16, 0, 16))] = 2.0
    codes = np.array([[-1, 0, 1], [1, 1, 0]], np.int16)
    result = LayerResult("x", codes.astype(np.float32), BitCount(6), codes)
    tiles = array_tiles(result, GRID, replace(toy, delay_s=delay), 0)
    assert tiles is not None
    assert dict(zip(tiles.values.tolist(), tiles.histogram[0, 0].tolist(), strict=True)) == {-16: 1, 0: 2, 16: 3}


def test_without_integers_or_with_some_that_the_mac_lacks_there_are_no_tiles() -> None:
    toy = toy_profile()
    codes = np.array([[-1, 0, 1], [1, 1, 0]], np.int16)
    codes[0, 0] = int(toy.weights[-1]) + 1
    weight = codes.astype(np.float32)
    assert array_tiles(LayerResult("x", weight, BitCount(6), codes), GRID, toy, 0) is None
    assert array_tiles(LayerResult("x", weight, BitCount(6), None), GRID, toy, 0) is None
