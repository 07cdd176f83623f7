"""Operating points at lower supplies: per class at the base clock (eco), or all points slowed down (deadline).

`curve(voltage_v)` is the delay at a supply relative to the delay at the profile's corner. It is 1 at the corner's
supply and must not rise with the voltage. `slowest_s` is the slowest delay in s of a class's weight values at that
corner.
"""

import math
from collections.abc import Callable, Sequence

from haloquant.errors import InfeasibleError, InputError
from haloquant.records import OperatingPoint
from haloquant.units import engineering

Curve = Callable[[float], float]


def voltage_steps(lowest_v: float, highest_v: float, step_v: float = 0.025) -> tuple[float, ...]:
    """Return the supplies that a regulator can make, in V, ascending, both ends included.

    The default step of 25 mV is that of EdgeBERT's regulator (arXiv 2011.14203).

    Raises:
        InputError: The range is empty or the step is not positive.
    """
    if not 0 < lowest_v <= highest_v or not step_v > 0:
        raise InputError(
            f"voltage steps must ascend from above 0 V in positive steps, not {lowest_v:g} to {highest_v:g} V by "
            f"{step_v:g} V"
        )
    count = math.floor((highest_v - lowest_v) / step_v + 1e-9)
    steps = [lowest_v + i * step_v for i in range(count + 1)]
    return (*steps, highest_v) if highest_v - steps[-1] > 1e-9 else tuple(steps)


def lowest_voltage(slowest_s: float, period_s: float, curve: Curve, steps: Sequence[float]) -> float:
    """Return the lowest of the supplies `steps` (V, ascending) at which a delay of `slowest_s` meets `period_s`.

    Raises:
        InfeasibleError: No supply does. The error names the shortest period that the highest supply meets.
    """
    for voltage in steps:
        if slowest_s * curve(voltage) <= period_s * (1 + 1e-12):
            return voltage
    least = slowest_s * curve(steps[-1])
    raise InfeasibleError(
        f"period must be at least {engineering(least, 's')}, which the slowest weight value meets at the highest "
        f"supply, {steps[-1]:g} V, not {engineering(period_s, 's')}"
    )


def eco_points(
    slowest_s: Sequence[float], base_frequency_hz: float, curve: Curve, steps: Sequence[float]
) -> tuple[OperatingPoint, ...]:
    """Return one point per class: all at the base clock, each at the lowest supply that its slowest value allows.

    Raises:
        InfeasibleError: A class does not meet the base clock at the highest supply.
    """
    period = 1.0 / base_frequency_hz
    return tuple(OperatingPoint(lowest_voltage(slow, period, curve, steps), base_frequency_hz) for slow in slowest_s)


def slowed_points(points: Sequence[OperatingPoint], curve: Curve, voltage_factor: float) -> tuple[OperatingPoint, ...]:
    """Return every point at `voltage_factor` times its supply, at the fastest clock that this supply allows.

    At a given supply the fastest clock spends the least leakage energy, so one clock per supply is enough.

    Raises:
        InfeasibleError: A supply would fall to the threshold or below.
    """
    slowed: list[OperatingPoint] = []
    for point in points:
        voltage = point.voltage_v * voltage_factor
        stretch = curve(voltage) / curve(point.voltage_v)
        if not math.isfinite(stretch):
            raise InfeasibleError(f"supply must stay above the threshold, and {voltage:g} V does not")
        slowed.append(OperatingPoint(voltage, point.frequency_hz / stretch))
    return tuple(slowed)
