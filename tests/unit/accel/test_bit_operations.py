"""BOPs and EBOPs by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel import bit_operations
from haloquant.accel.rival_systems import value_tiles
from haloquant.errors import InputError
from haloquant.records import BitCount, TileGrid
from support.near import near


def test_bit_operations_by_hand() -> None:
    values = np.array([[0, 64], [-128, 7]], np.int16)
    tiles = value_tiles("x", values, TileGrid(2, 2, 4, 4), BitCount(4), nnz=1)
    assert bit_operations.enclosed_bits(np.array([0, 1, 64, -128, 7, 10, 127], np.int16)).tolist() == [
        0,
        1,
        1,
        1,
        3,
        3,
        7,
    ]
    assert bit_operations.ebops(tiles) == (0 + 1 + 1 + 3 + 8) * 8
    # 3 dense and 1 sparse of 4 weights not zero, 8 bits each: 4 x (1 x 64 + 8 + 8 + log2 2)
    assert bit_operations.bops(tiles) == near(4 * (64 + 8 + 8 + 1))
    # A branch of rank 1: 2 + 2 weights of 16 bits, with sums of 2 terms and of 1 term.
    branch = replace(tiles, branch_rank=1)
    assert bit_operations.bops(branch) == near(4 * 81 + 2 * (128 + 8 + 16 + 1) + 2 * (128 + 8 + 16))
    assert bit_operations.signed_bits(np.array([-112, 0, 112])) == 4 and bit_operations.signed_bits(np.array([0])) == 0
    with pytest.raises(InputError, match=r"^activation_bits must be at least 1, not 0$"):
        bit_operations.ebops(tiles, 0)
