"""Tiles made from shapes."""

import numpy as np
import pytest

from haloquant.accel.workload.synthetic_tiles import ClassMix, gaussian_frequency, synthetic_tiles
from haloquant.errors import InputError
from haloquant.records import TileGrid
from support.accel_cases import (
    FAST,
)
from support.near import near


def test_synthetic_tiles_meet_their_shares() -> None:
    values = np.array([-4, 0, 4], np.int16)
    mix = [ClassMix(0.25, values, np.array([0.25, 0.5, 0.25])), ClassMix(0.75, FAST, gaussian_frequency(FAST))]
    tiles = synthetic_tiles("x", TileGrid(30, 16, 8, 8), mix)
    assert np.bincount(tiles.classes.ravel()).tolist() == [2, 6]
    assert set(tiles.histogram.sum(axis=2).ravel().tolist()) == {64}
    full = tiles.histogram[0, 0] if tiles.classes[0, 0] == 0 else None
    counts = {int(v): int(tiles.histogram[tiles.classes == 0][0][i]) for i, v in enumerate(tiles.values)}
    assert full is None or counts[-4] == counts[4] == 16
    # the last row of tiles holds 6 of 8 outputs: 16 cells of padding count as 0
    assert tiles.histogram[3, 0][tiles.values == 0] >= 16
    assert gaussian_frequency(values, 1e9).tolist() == near([0.5, 0.0, 0.5], abs=1e-6)
    with pytest.raises(InputError, match=r"^shares of tile classes must be at least 0 and sum to 1, not \[0.25\]$"):
        synthetic_tiles("x", TileGrid(8, 8, 8, 8), mix[:1])
    with pytest.raises(InputError, match=r"^out_features of x must be at least 1, not 0$"):
        synthetic_tiles("x", TileGrid(0, 8, 8, 8), mix)
    with pytest.raises(InputError, match=r"^values of a class must be ascending without repeats$"):
        gaussian_frequency(np.array([1, 1], np.int16))
    with pytest.raises(InputError, match=r"^frequencies of a tile class of x must be one per value, at least 0"):
        synthetic_tiles("x", TileGrid(8, 8, 8, 8), [ClassMix(1.0, values, np.array([-1.0, 1.0, 1.0]))])
