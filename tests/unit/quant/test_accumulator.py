"""The longest sum that an accumulator holds."""

import numpy as np
import pytest

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.accumulator import check_accumulation, longest_accumulation
from haloquant.records import Codebook, OperatingPoint
from support.quant_twins import NINE


def test_accumulator_bound() -> None:
    # 2^31 - 1 over 128 x 128 = 131071.99: one product more could be 131072 x 16384 = 2^31.
    assert longest_accumulation(128) == 131071
    assert longest_accumulation(64) == 262143
    assert longest_accumulation(128, 8, 24) == 511
    check_accumulation("layer", 511, (NINE,), 24)
    with pytest.raises(InfeasibleError) as caught:
        check_accumulation("layer", 512, (NINE,), 24)
    assert str(caught.value) == (
        "accumulation of layer must be at most 511 products of weights up to 128 in 24 bits, not 512; choose a "
        "shorter tile or a wider accumulator"
    )
    with pytest.raises(InputError, match="at least 1"):
        longest_accumulation(0)


def test_the_bound_of_an_int32_sum_is_exact_and_held() -> None:
    """K products of |w| <= 128 with |a| <= 128 need K x 2^14 <= 2^31 - 1; one more may overflow."""
    books = (Codebook("all", np.arange(-128, 128).astype(np.int16), OperatingPoint(1.0, 1e9), 0.0),)
    bound = longest_accumulation(128)
    assert bound * 128 * 128 <= 2**31 - 1 < (bound + 1) * 128 * 128
    check_accumulation("l", bound, books)
    with pytest.raises(InfeasibleError, match=rf"^accumulation of l must be at most {bound} products of weights up to"):
        check_accumulation("l", bound + 1, books)
    check_accumulation("405B's widest layer", 53248, books)
