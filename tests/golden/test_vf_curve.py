"""The shipped multi-voltage profile: its V-f law, and what the fast words may save in voltage."""

import numpy as np
import pytest

from haloquant.dvfs import alpha_power_law
from haloquant.store.profiles import find_profile

NINE = np.array([-64, -32, -16, -8, 0, 8, 16, 32, 64], dtype=np.int16)


@pytest.fixture(scope="module")
def profile():
    return find_profile("sky130hd-digitsdadda_ks+lone-mul-abc")


def test_the_law_fits_the_measured_clocks(profile):
    curve = alpha_power_law.vf_curve(profile)
    assert (curve.process, curve.temperature_c, curve.voltage_v[0], curve.voltage_v[-1]) == ("ss", -40.0, 1.28, 1.76)
    assert curve.worst_error < 0.002
    for volts, clock in zip(curve.voltage_v, curve.frequency_hz, strict=True):
        corner = [c.voltage_v for c in profile.corners].index(volts)
        assert clock == pytest.approx(1.0 / profile.delay_s[corner].max())
        assert alpha_power_law.clock_at(curve, volts) == pytest.approx(clock, rel=0.002)


def test_fast_words_need_less_voltage(profile):
    everything, nine = alpha_power_law.vf_curve(profile), alpha_power_law.vf_curve(profile, values=NINE)
    clock = alpha_power_law.clock_at(everything, 1.76)
    assert alpha_power_law.least_voltage(nine, clock).voltage_v == pytest.approx(1.51, abs=0.01)


def test_clock_and_energy_rise_with_voltage(profile):
    cold = alpha_power_law.voltage_families(profile)[("ss", -40.0)]
    delay_s = profile.delay_s[list(cold)]
    assert (np.diff(delay_s, axis=0) <= 0).all()
    assert (np.diff(profile.energy_j[list(cold)].mean(axis=1)) > 0).all()
