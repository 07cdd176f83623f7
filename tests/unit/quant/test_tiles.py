"""Tile grids, and the bound on the length of an int32 sum."""

import numpy as np
import pytest

from haloquant.errors import InfeasibleError
from haloquant.quant.tiles import check_accumulation, longest_accumulation
from haloquant.records import Codebook, OperatingPoint


def test_the_bound_of_an_int32_sum_is_exact_and_held() -> None:
    """K products of |w| <= 128 with |a| <= 128 need K x 2^14 <= 2^31 - 1; one more may overflow."""
    books = (Codebook("all", np.arange(-128, 128).astype(np.int16), OperatingPoint(1.0, 1e9), 0.0),)
    bound = longest_accumulation(128)
    assert bound * 128 * 128 <= 2**31 - 1 < (bound + 1) * 128 * 128
    check_accumulation("l", bound, books)
    with pytest.raises(InfeasibleError, match=rf"^accumulation of l must be at most {bound} products of weights up to"):
        check_accumulation("l", bound + 1, books)
    check_accumulation("405B's widest layer", 53248, books)
