"""Rows of constant multipliers: EBOPs by hand, and an order that any mapping keeps."""

import numpy as np
import pytest

from haloquant.jobs.mac.constant_multipliers import WordFrequency, map_constant_multipliers


def test_words_that_are_powers_of_two_take_fewer_look_up_tables() -> None:
    powers = WordFrequency("powers", np.array([-64, 32, 64], np.int16), np.ones(3))
    dense = WordFrequency("dense", np.array([-85, 85, 117], np.int16), np.ones(3))
    seen: list[int] = []
    found = map_constant_multipliers([powers, dense], 1, 3, 8, progress=lambda _, done, __: seen.append(done))
    assert seen == [2] and [row.weights for row in found] == [3, 3]
    assert found[0].ebops == 3 * 8 and found[1].ebops == 3 * 8 * 7  # one bit, and seven from the first to the last
    assert found[0].luts < found[1].luts and found[0].dsps == 0
    for row in found:
        assert row.ratio == pytest.approx(row.luts / row.ebops)
        assert row.ratio_with_dsps == pytest.approx((row.luts_beside_dsps + 55 * row.dsps) / row.ebops)
