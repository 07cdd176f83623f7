"""Operating points on a profile whose law is known."""

import numpy as np
import pytest

from haloquant.dvfs import operating_points
from haloquant.errors import InfeasibleError, ProfileError
from haloquant.records import Corner, MacProfile

VOLTS = (1.28, 1.35, 1.4, 1.44, 1.6, 1.76)
WEIGHTS = np.array([-2, -1, 0, 1, 2], dtype=np.int16)
UNIT_S = np.array([4.0, 2.0, 0.0, 1.0, 3.0]) * 1e-10


def profile(volts: tuple[float, ...] = VOLTS) -> MacProfile:
    stretch = np.array([v / (v - 0.5) ** 1.5 for v in volts])
    delay_s = np.vstack([UNIT_S, stretch[:, None] * UNIT_S])
    corners = (Corner("tt", 1.8, 25.0), *(Corner(f"ss_{v}", v, -40.0, "ss") for v in volts))
    nothing = np.full_like(delay_s, np.nan)
    leakage_w = np.zeros(len(corners))
    energy_j = np.tile(np.array([5.0, 4.0, 0.0, 1.0, 3.0]) * 1e-15, (len(corners), 1))
    return MacProfile("toy", "", WEIGHTS, corners, delay_s, nothing, energy_j, leakage_w, 1e-9)


def test_admissible_and_its_inverse():
    toy = profile()
    for period_s in (1e-10, 2.5e-10, 4e-10):
        found = operating_points.admissible(toy, 0, period_s)
        assert operating_points.period_for(toy, 0, found) <= period_s
        assert set(found) == set(WEIGHTS[period_s >= UNIT_S])
    assert operating_points.admissible(toy, 0, 2.5e-10, margin_s=1e-10).tolist() == [0, 1]


def test_no_value_meets_the_period():
    toy = profile()
    slow = MacProfile(**{**{f: getattr(toy, f) for f in toy.__dataclass_fields__}, "delay_s": toy.delay_s + 1e-10})
    sentence = r"the period must be at least 100 ps in toy at tt, not 50 ps: no weight value meets it"
    with pytest.raises(InfeasibleError, match=sentence):
        operating_points.admissible(slow, 0, 5e-11)


def test_fastest_keeps_zero():
    assert operating_points.fastest(profile(), 0, 3).tolist() == [-1, 0, 1]
    with pytest.raises(ProfileError, match=r"toy holds 1 to 5 values, not 6"):
        operating_points.fastest(profile(), 0, 6)


def test_the_alpha_power_law_is_found_again():
    curve = operating_points.vf_curve(profile())
    assert (curve.process, curve.temperature_c) == ("ss", -40.0)
    assert curve.alpha == pytest.approx(1.5, rel=1e-4)
    assert curve.threshold_v == pytest.approx(0.5, rel=1e-4)
    assert curve.worst_error < 1e-6
    assert operating_points.clock_at(curve, 1.5) == pytest.approx(1.0 / 1.5 / 4e-10, rel=1e-5)


def test_least_voltage_is_the_inverse_of_the_clock():
    curve = operating_points.vf_curve(profile())
    for volts in (1.3, 1.5, 1.76):
        clock = operating_points.clock_at(curve, volts)
        point = operating_points.least_voltage(curve, clock * (1 - 1e-12))
        assert point.voltage_v == pytest.approx(volts, abs=1e-6)
        assert operating_points.clock_at(curve, point.voltage_v) >= clock * (1 - 1e-9)
    assert operating_points.least_voltage(curve, 1.0).voltage_v == 1.28


def test_a_faster_set_needs_less_voltage():
    toy = profile()
    few = operating_points.vf_curve(toy, values=np.array([-1, 0, 1], dtype=np.int16))
    clock = operating_points.clock_at(operating_points.vf_curve(toy), 1.7)
    assert operating_points.least_voltage(few, clock).voltage_v < 1.7


def test_outside_the_measured_range():
    curve = operating_points.vf_curve(profile())
    with pytest.raises(
        InfeasibleError, match=r"the voltage must be 1.28 to 1.76 V, where the curve was measured, not 2"
    ):
        operating_points.clock_at(curve, 2.0)
    assert operating_points.clock_beyond(curve, 2.0) > operating_points.clock_at(curve, 1.76)
    with pytest.raises(InfeasibleError, match=r"the clock must be at most .*Hz, what 1.76 V gives, not 100 GHz"):
        operating_points.least_voltage(curve, 1e11)
    with pytest.raises(InfeasibleError, match=r"the voltage must be above the fitted threshold 0.5 V, not 0.4"):
        operating_points.clock_beyond(curve, 0.4)


def test_too_few_voltages():
    sentence = r"a V-f curve needs at least 3 voltages of one process and temperature, and toy has 2"
    with pytest.raises(InfeasibleError, match=sentence):
        operating_points.vf_curve(profile((1.3, 1.4)))


def test_corner_and_values_by_name():
    toy = profile()
    assert operating_points.corner_index(toy, "ss_1.4") == 3
    with pytest.raises(ProfileError, match=r"the corner must be one of tt, ss_1.28, .*, not 'ff'"):
        operating_points.corner_index(toy, "ff")
    with pytest.raises(ProfileError, match=r"the weight values must be among the 5 of toy, not 7"):
        operating_points.delay_of(toy, 0, np.array([0, 7], dtype=np.int16))
