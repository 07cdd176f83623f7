"""Tiles by class, and tile maps that do not fit their layer."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.dvfs.tile_index import TileIndex, check_fits
from haloquant.errors import InputError
from support.accel_cases import random_tiles, tiny_workload


def _tiles():
    workload = tiny_workload(layers=1)
    return workload, random_tiles(workload, 0)


def test_a_tile_map_of_another_layer_is_refused() -> None:
    workload, tiles = _tiles()
    tiles["0.q"] = replace(tiles["0.k"], layer="0.q")
    with pytest.raises(InputError, match=r"^tile map of 0.q must be of a 24 x 20 layer \(out x in\), not 13 x 20$"):
        check_fits(workload.gemms, tiles, 3)


def test_a_tile_map_of_another_size_is_refused() -> None:
    workload, tiles = _tiles()
    wide = np.zeros((3, 4, 256), np.int64)
    tiles["0.q"] = replace(tiles["0.q"], classes=np.zeros((3, 4), np.uint8), histogram=wide)
    with pytest.raises(InputError, match=r"^tile map of 0.q must have 3 x 3 tiles \(down x across\), not 3 x 4$"):
        check_fits(workload.gemms, tiles, 3)


def test_a_class_without_a_point_is_refused() -> None:
    workload, tiles = _tiles()
    tiles["0.q"] = replace(tiles["0.q"], classes=np.full((3, 3), 7, np.uint8))
    with pytest.raises(InputError, match=r"^class of a tile of 0.q must be below 3, the number of .* given, not 7$"):
        check_fits(workload.gemms, tiles, 3)


def test_tiles_of_an_unknown_layer_are_refused() -> None:
    workload, tiles = _tiles()
    tiles["1.q"] = tiles["0.q"]
    with pytest.raises(InputError, match=r"^tile maps must be of layers of the workload, not 1.q$"):
        check_fits(workload.gemms, tiles, 3)


def test_tiles_by_class_ascend_by_down_then_across() -> None:
    _, tiles = _tiles()
    classes = np.array([[1, 0, 1], [2, 1, 0], [0, 0, 0]], np.uint8)
    index = TileIndex()
    found = index.by_class(replace(tiles["0.q"], classes=classes))
    assert {number: places.tolist() for number, places in found.items()} == {
        0: [[0, 1], [1, 2], [2, 0], [2, 1], [2, 2]],
        1: [[0, 0], [0, 2], [1, 1]],
        2: [[1, 0]],
    }
