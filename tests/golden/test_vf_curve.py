"""The shipped multi-voltage profile: its V-f law, and what the fast words may save in voltage."""

import numpy as np
import pytest

from haloquant.dvfs import operating_points
from haloquant.store.profiles import find_profile

NINE = np.array([-64, -32, -16, -8, 0, 8, 16, 32, 64], dtype=np.int16)


@pytest.fixture(scope="module")
def profile():
    return find_profile("sky130hd-digitsdadda_ks+lone-mul-abc")


def test_the_law_fits_the_measured_clocks(profile):
    curve = operating_points.vf_curve(profile)
    assert (curve.process, curve.temperature_c, curve.voltage_v[0], curve.voltage_v[-1]) == ("ss", -40.0, 1.28, 1.76)
    assert curve.worst_error < 0.002
    for volts, clock in zip(curve.voltage_v, curve.frequency_hz, strict=True):
        corner = operating_points.corner_index(profile, next(c.name for c in profile.corners if c.voltage_v == volts))
        assert clock == pytest.approx(1.0 / profile.delay_s[corner].max())
        assert operating_points.clock_at(curve, volts) == pytest.approx(clock, rel=0.002)


def test_fast_words_need_less_voltage(profile):
    everything, nine = operating_points.vf_curve(profile), operating_points.vf_curve(profile, values=NINE)
    clock = operating_points.clock_at(everything, 1.76)
    assert operating_points.least_voltage(nine, clock).voltage_v == pytest.approx(1.51, abs=0.01)


def test_clock_and_energy_rise_with_voltage(profile):
    cold = operating_points.families(profile)[("ss", -40.0)]
    delay_s = profile.delay_s[list(cold)]
    assert (np.diff(delay_s, axis=0) <= 0).all()
    assert (np.diff(profile.energy_j[list(cold)].mean(axis=1)) > 0).all()
