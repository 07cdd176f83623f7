"""Classes of a MAC: the base class, their order, and profiles that allow none."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.dvfs.classes import choose_classes
from haloquant.dvfs.operating_points import slowest_delay_s
from haloquant.errors import InfeasibleError, ProfileError
from haloquant.quant.codebook import gaussian_sample
from support.accel_cases import WEIGHTS, toy_profile

SIZES = (("fast", 9, 6.0), ("slow", 16, 3.0))


def test_every_class_meets_its_clock_and_the_base_holds_all_values() -> None:
    profile = toy_profile()
    classes = choose_classes(profile, 0, gaussian_sample(8), SIZES)
    assert [book.name for book in classes.codebooks] == ["fast", "slow", "base"]
    assert classes.base.values.tolist() == WEIGHTS.tolist()
    for index, book in enumerate(classes.codebooks):
        assert book.point.period_s == pytest.approx(slowest_delay_s(profile, 0, book.values))
        assert 0 in book.values and classes.clock_ratio(index) >= 1.0


def test_a_margin_lengthens_the_period() -> None:
    period_s = toy_profile().delay_s[0].max()
    base = choose_classes(toy_profile(), 0, gaussian_sample(8), SIZES, margin=0.2).base
    assert base.point.period_s == pytest.approx(period_s / 0.8)
    assert base.slack_s == pytest.approx(0.2 * period_s / 0.8)


def test_profiles_without_zero_or_without_another_value_are_refused() -> None:
    profile = toy_profile()
    columns = {name: getattr(profile, name)[:, 1:2] for name in ("delay_s", "sensitised_delay_s", "energy_j")}
    one = replace(profile, weights=np.array([3], np.int16), **columns)
    with pytest.raises(ProfileError, match=r"^profile toy must hold the weight value 0"):
        choose_classes(one, 0, gaussian_sample(8), SIZES)
    with pytest.raises(InfeasibleError, match=r"^profile toy must hold a weight value other than 0 for class fast"):
        choose_classes(replace(one, weights=np.array([0], np.int16)), 0, gaussian_sample(8), SIZES)
