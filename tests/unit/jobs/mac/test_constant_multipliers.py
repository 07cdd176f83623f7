"""Rows of constant multipliers: EBOPs by hand, and an order that any mapping keeps."""

import numpy as np
import pytest

from haloquant.eda.fpga import FpgaCells, FpgaMapping
from haloquant.jobs.mac import constant_multipliers
from haloquant.jobs.mac.constant_multipliers import WordFrequency, map_constant_multipliers


def test_effective_bit_operations_and_ratios_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """-85 and 85 have seven bits from the first to the last, 117 seven, and 64 one; 0 has none."""
    mapped = FpgaMapping(FpgaCells(84, 0, 9), FpgaCells(14, 2, 1))
    asked: list[str] = []
    monkeypatch.setattr(
        constant_multipliers, "map_to_fpga", lambda designs, top: [asked.append(d) or mapped for d in designs]
    )
    sets = [
        WordFrequency("dense", np.array([-85, 85, 117], np.int16), np.ones(3)),
        WordFrequency("one", np.array([0, 64], np.int16), np.array([0.0, 1.0])),
        WordFrequency("none", np.array([0, 64], np.int16), np.array([1.0, 0.0])),
    ]
    dense, one, none = map_constant_multipliers(sets, 1, 3, 8)
    assert len(asked) == 3 and "64" in asked[1] and "64" not in asked[2]
    assert (dense.ebops, one.ebops, none.ebops) == (3 * 8 * 7, 3 * 8, 0)
    assert (dense.weights, dense.nonzero, none.nonzero) == (3, 3, 0)
    assert dense.ratio == 84 / 168 and dense.ratio_with_dsps == (14 + 2 * 55) / 168
    assert (one.luts, one.luts_beside_dsps, one.dsps) == (84, 14, 2) and none.ratio == 84  # over at least 1


@pytest.mark.seldom
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
