"""Two ways to spend slack: a higher clock at the class's supply (boost), or a lower supply at the base clock (eco).

`curve(voltage_v)` is the delay at a supply relative to the delay at the profile's corner: 1 there, above 1 below it.
It must not rise with the voltage. `slowest_s` is the slowest delay of a class's weight values at that corner.
"""

import math
from collections.abc import Callable, Sequence

from haloquant.errors import InfeasibleError, InputError
from haloquant.records import OperatingPoint
from haloquant.units import engineering

Curve = Callable[[float], float]


def alpha_power(threshold_v: float, alpha: float, corner_v: float) -> Curve:
    """Return the alpha-power law's delay relative to that at `corner_v`: V / (V - Vt)^alpha (Sakurai and Newton, 1990).

    Its parameters are those of `points.vf_curve`. At and below the threshold the delay is infinite.

    Raises:
        InputError: if the corner's supply is not above the threshold.
    """
    if corner_v <= threshold_v:
        raise InputError(f"corner_v must be above the threshold, {threshold_v:g} V, not {corner_v:g} V.")

    def delay(voltage_v: float) -> float:
        return math.inf if voltage_v <= threshold_v else voltage_v / (voltage_v - threshold_v) ** alpha

    reference = delay(corner_v)
    return lambda voltage_v: delay(voltage_v) / reference


def voltage_steps(lowest_v: float, highest_v: float, step_v: float = 0.025) -> tuple[float, ...]:
    """Return the regulator's steps, ascending, both ends included (25 mV is the step of EdgeBERT's regulator).

    Raises:
        InputError: if the range is empty or the step not positive.
    """
    if not 0 < lowest_v <= highest_v or not step_v > 0:
        raise InputError(
            f"voltage steps must ascend from above 0 V in positive steps, not {lowest_v:g} to {highest_v:g} V by "
            f"{step_v:g} V."
        )
    count = math.floor((highest_v - lowest_v) / step_v + 1e-9)
    steps = [lowest_v + i * step_v for i in range(count + 1)]
    return (*steps, highest_v) if highest_v - steps[-1] > 1e-9 else tuple(steps)


def lowest_voltage(slowest_s: float, period_s: float, curve: Curve, steps: Sequence[float]) -> float:
    """Return the least step at which `slowest_s` (at the corner) meets `period_s`.

    Raises:
        InfeasibleError: if no step does; it says the shortest period that one would meet.
    """
    for voltage in steps:
        if slowest_s * curve(voltage) <= period_s * (1 + 1e-12):
            return voltage
    least = slowest_s * curve(steps[-1])
    raise InfeasibleError(
        f"period must be at least {engineering(least, 's')}, which the slowest weight value meets at the highest "
        f"supply, {steps[-1]:g} V, not {engineering(period_s, 's')}."
    )


def eco_points(
    slowest_s: Sequence[float], base_frequency_hz: float, curve: Curve, steps: Sequence[float]
) -> tuple[OperatingPoint, ...]:
    """Return one point per class: all at the base clock, each at the least supply its slowest weight value allows.

    Raises:
        InfeasibleError: if the base clock cannot be met.
    """
    period = 1.0 / base_frequency_hz
    return tuple(OperatingPoint(lowest_voltage(slow, period, curve, steps), base_frequency_hz) for slow in slowest_s)


def boost_points(
    slowest_s: Sequence[float], curve: Curve, voltage_v: float, margin_s: float = 0.0
) -> tuple[OperatingPoint, ...]:
    """Return one point per class: all at one supply, each at the highest clock its slowest weight value allows.

    Args:
        slowest_s: Slowest delay of each class at the corner.
        curve: Delay relative to the corner by supply.
        voltage_v: The supply.
        margin_s: Added to every delay.
    """
    return tuple(OperatingPoint(voltage_v, 1.0 / (slow * curve(voltage_v) + margin_s)) for slow in slowest_s)


def slowed_points(points: Sequence[OperatingPoint], curve: Curve, voltage_factor: float) -> tuple[OperatingPoint, ...]:
    """Return every point at `voltage_factor` times its supply and the clock that is left there: how a deadline is met.

    At a given supply the fastest clock costs the least leakage, so one clock per supply is all that need be looked at.

    Raises:
        InfeasibleError: if a supply would fall to the threshold or below.
    """
    slowed: list[OperatingPoint] = []
    for point in points:
        voltage = point.voltage_v * voltage_factor
        stretch = curve(voltage) / curve(point.voltage_v)
        if not math.isfinite(stretch):
            raise InfeasibleError(f"supply must stay above the threshold, and {voltage:g} V does not.")
        slowed.append(OperatingPoint(voltage, point.frequency_hz / stretch))
    return tuple(slowed)
