"""The alpha-power law on a profile that follows it, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.dvfs.alpha_power_law import alpha_power_delay, clock_at, least_voltage, vf_curve, voltage_families
from haloquant.errors import InfeasibleError, InputError
from support.known_law import known_law_profile


def test_the_alpha_power_law_is_found_again():
    curve = vf_curve(known_law_profile())
    assert (curve.process, curve.temperature_c) == ("ss", -40.0)
    assert curve.alpha == pytest.approx(1.5, rel=1e-4)
    assert curve.threshold_v == pytest.approx(0.5, rel=1e-4)
    assert curve.worst_error < 1e-6
    assert clock_at(curve, 1.5) == pytest.approx(1.0 / 1.5 / 4e-10, rel=1e-5)


def test_least_voltage_is_the_inverse_of_the_clock():
    curve = vf_curve(known_law_profile())
    for volts in (1.3, 1.5, 1.76):
        clock = clock_at(curve, volts)
        point = least_voltage(curve, clock * (1 - 1e-12))
        assert point.voltage_v == pytest.approx(volts, abs=1e-6)
        assert clock_at(curve, point.voltage_v) >= clock * (1 - 1e-9)
    assert least_voltage(curve, 1.0).voltage_v == 1.28


def test_a_faster_set_needs_less_voltage():
    toy = known_law_profile()
    few = vf_curve(toy, values=np.array([-1, 0, 1], dtype=np.int16))
    clock = clock_at(vf_curve(toy), 1.7)
    assert least_voltage(few, clock).voltage_v < 1.7


def test_outside_the_measured_range():
    curve = vf_curve(known_law_profile())
    with pytest.raises(
        InfeasibleError, match=r"the voltage must be 1.28 to 1.76 V, where the curve was measured, not 2"
    ):
        clock_at(curve, 2.0)
    with pytest.raises(InfeasibleError, match=r"the clock must be at most .*Hz, the clock at 1.76 V, not 100 GHz"):
        least_voltage(curve, 1e11)


def test_too_few_voltages():
    sentence = r"a V-f curve needs at least 3 voltages of one process and temperature, and toy has 2"
    with pytest.raises(InfeasibleError, match=sentence):
        vf_curve(known_law_profile((1.3, 1.4)))


def test_values_without_a_delay_have_no_curve():
    toy = known_law_profile()
    still = replace(toy, delay_s=np.where(toy.weights == 0, 0.0, toy.delay_s))
    with pytest.raises(InfeasibleError, match=r"^a V-f curve needs values with a delay, and these have none in "):
        vf_curve(still, values=np.array([0], dtype=np.int16))


def test_relative_delay_of_the_alpha_power_law():
    delay = alpha_power_delay(0.35, 1.3, 1.0)
    assert delay(1.0) == 1.0 and delay(0.8) > 1.0 > delay(1.2) and delay(0.3) == float("inf")
    with pytest.raises(InputError, match=r"^corner_v must be above the threshold, 0.35 V, not 0.3 V$"):
        alpha_power_delay(0.35, 1.3, 0.3)


def test_families_ascend_in_voltage():
    assert voltage_families(known_law_profile((1.4, 1.28))) == {("tt", 25.0): (0,), ("ss", -40.0): (2, 1)}
