"""Operating points at lower supplies."""

import pytest

from haloquant.dvfs.alpha_power_law import alpha_power_delay
from haloquant.dvfs.supply_modes import eco_points, lowest_voltage, slowed_points, voltage_steps
from haloquant.errors import InfeasibleError, InputError
from haloquant.records import OperatingPoint


def test_eco_lowers_the_supply_at_the_base_clock() -> None:
    curve = alpha_power_delay(0.35, 1.3, 1.0)
    steps = voltage_steps(0.5, 1.0)
    assert len(steps) == 21 and steps[-1] == pytest.approx(1.0)
    # a class 1.65 times as fast as the base may run at about 0.68 V (PowerPruning's use of slack; hand derivation)
    slow, fast = eco_points([1 / 1.9e9, 1 / 1.9e9 / 1.649], 1.9e9, curve, steps)
    assert slow.voltage_v == pytest.approx(1.0) and fast.voltage_v == pytest.approx(0.7)
    assert slow.frequency_hz == fast.frequency_hz == 1.9e9
    assert 1.9e9 * curve(0.7) / 1.649 <= 1.9e9 < 1.9e9 * curve(0.675) / 1.649


def test_slowed_points_follow_the_curve() -> None:
    curve = alpha_power_delay(0.35, 1.3, 1.0)
    (back,) = slowed_points([OperatingPoint(1.2, 2e9 / curve(1.2))], curve, 1 / 1.2)
    assert back.voltage_v == pytest.approx(1.0) and back.frequency_hz == pytest.approx(2e9)


def test_voltages_that_cannot_be_are_refused() -> None:
    curve = alpha_power_delay(0.35, 1.3, 1.0)
    with pytest.raises(InputError, match=r"^voltage steps must ascend from above 0 V in positive steps, not 1 to 0.5"):
        voltage_steps(1.0, 0.5)
    with pytest.raises(InfeasibleError, match=r"^period must be at least 526 ps, which the slowest weight value meets"):
        lowest_voltage(526e-12, 400e-12, curve, (0.9, 1.0))
    with pytest.raises(InfeasibleError, match=r"^supply must stay above the threshold, and 0.33 V does not$"):
        slowed_points([OperatingPoint(1.1, 1e9)], curve, 0.3)
