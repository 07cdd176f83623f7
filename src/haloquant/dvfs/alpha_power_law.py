"""Clock against supply voltage: the alpha-power law, clock = gain * (V - threshold)**alpha / V.

Source: Sakurai and Newton, IEEE J. Solid-State Circuits 25(2), 1990. `vf_curve` fits the law to the corners of a
profile that differ in voltage alone. `alpha_power_delay` gives the delay at a supply relative to that at another.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from haloquant.dvfs.operating_points import Values, period_for
from haloquant.errors import InfeasibleError, InputError
from haloquant.records import MacProfile, OperatingPoint
from haloquant.units import engineering

_FEWEST_VOLTAGES = 3  # as many as the law has parameters


@dataclass(frozen=True, slots=True)
class VfCurve:
    """Clock against supply voltage of a set of weight values, fitted to the corners of one process and temperature.

    `voltage_v` and `frequency_hz` are the measured points that the law was fitted to.
    """

    gain_hz: float
    threshold_v: float
    alpha: float
    voltage_v: tuple[float, ...]  # ascending
    frequency_hz: tuple[float, ...]
    worst_error: float  # largest relative error of the fitted clock at a measured voltage
    process: str
    temperature_c: float


def alpha_power_delay(threshold_v: float, alpha: float, corner_v: float) -> Callable[[float], float]:
    """Return the function from a supply in V to the delay there, relative to the delay at `corner_v`.

    Delay is proportional to V / (V - threshold)**alpha. At and below the threshold it is infinite. A `VfCurve` holds a
    fitted threshold and alpha.

    Raises:
        InputError: `corner_v` is not above the threshold.
    """
    if corner_v <= threshold_v:
        raise InputError(f"corner_v must be above the threshold, {threshold_v:g} V, not {corner_v:g} V")

    def delay(voltage_v: float) -> float:
        return math.inf if voltage_v <= threshold_v else voltage_v / (voltage_v - threshold_v) ** alpha

    reference = delay(corner_v)
    return lambda voltage_v: delay(voltage_v) / reference


def voltage_families(profile: MacProfile) -> dict[tuple[str, float], tuple[int, ...]]:
    """Return the corners of each (process, temperature in °C), as indices in ascending order of voltage."""
    found: dict[tuple[str, float], list[int]] = {}
    for i, corner in enumerate(profile.corners):
        found.setdefault((corner.process, corner.temperature_c), []).append(i)
    return {key: tuple(sorted(members, key=lambda i: profile.corners[i].voltage_v)) for key, members in found.items()}


def vf_curve(
    profile: MacProfile,
    process: str | None = None,
    temperature_c: float | None = None,
    values: Values | None = None,
    margin_s: float = 0.0,
) -> VfCurve:
    """Return the alpha-power law fitted to the corners of one process and temperature.

    Of several such families of corners the one with the most voltages is taken.

    Args:
        profile: A profile with corners at several voltages.
        process: "ss", "tt" or "ff"; None accepts any.
        temperature_c: Temperature in degrees Celsius; None accepts any.
        values: The weight values that must meet timing; None means all.
        margin_s: Added to every delay, the same at every voltage.

    Raises:
        InfeasibleError: No family has three voltages, or the values have no delay and so any clock.
        ProfileError: The profile lacks one of the values.
    """
    wanted = {
        key: members
        for key, members in voltage_families(profile).items()
        if process in (None, key[0]) and temperature_c in (None, key[1])
    }
    key, members = max(wanted.items(), key=lambda item: len(item[1]), default=(("", 0.0), ()))
    volts = np.array([profile.corners[i].voltage_v for i in members], dtype=np.float64)
    if np.unique(volts).size < _FEWEST_VOLTAGES:
        raise InfeasibleError(
            f"a V-f curve needs at least {_FEWEST_VOLTAGES} voltages of one process and temperature, and "
            f"{profile.name} has {np.unique(volts).size}"
        )
    chosen = profile.weights if values is None else values
    periods = [period_for(profile, i, chosen, margin_s) for i in members]
    if min(periods) <= 0.0:
        raise InfeasibleError(f"a V-f curve needs values with a delay, and these have none in {profile.name}")
    clocks = np.array([1.0 / period for period in periods], dtype=np.float64)
    gain, threshold, alpha = _fit(volts, clocks)
    error = np.abs(_law(volts, gain, threshold, alpha) / clocks - 1.0)
    return VfCurve(
        gain, threshold, alpha, tuple(volts.tolist()), tuple(clocks.tolist()), float(error.max()), key[0], key[1]
    )


def clock_at(curve: VfCurve, voltage_v: float) -> float:
    """Return the fitted clock in Hz at a voltage inside the measured range.

    Raises:
        InfeasibleError: The voltage is outside the measured range.
    """
    low, high = curve.voltage_v[0], curve.voltage_v[-1]
    if not low <= voltage_v <= high:
        raise InfeasibleError(
            f"the voltage must be {low:g} to {high:g} V, where the curve was measured, not {voltage_v:g}"
        )
    return float(_law(np.array([voltage_v]), curve.gain_hz, curve.threshold_v, curve.alpha)[0])


def least_voltage(curve: VfCurve, frequency_hz: float) -> OperatingPoint:
    """Return the operating point with that clock at the least voltage inside the measured range.

    Raises:
        InfeasibleError: The highest measured voltage gives a lower clock.
    """
    low, high = curve.voltage_v[0], curve.voltage_v[-1]
    if frequency_hz <= clock_at(curve, low):
        return OperatingPoint(low, frequency_hz)
    top = clock_at(curve, high)
    if frequency_hz > top:
        raise InfeasibleError(
            f"the clock must be at most {engineering(top, 'Hz')}, the clock at {high:g} V, "
            f"not {engineering(frequency_hz, 'Hz')}"
        )
    for _ in range(60):  # bisection, as the clock rises with the voltage
        middle = 0.5 * (low + high)
        low, high = (middle, high) if clock_at(curve, middle) < frequency_hz else (low, middle)
    return OperatingPoint(high, frequency_hz)


def _law(volts: Float64[np.ndarray, " v"], gain: float, threshold: float, alpha: float) -> Float64[np.ndarray, " v"]:
    return gain * (volts - threshold) ** alpha / volts


def _fit(volts: Float64[np.ndarray, " v"], clocks: Float64[np.ndarray, " v"]) -> tuple[float, float, float]:
    """Gain in Hz, threshold in V and alpha with the least squared error of log(clock).

    For a given threshold the law is a straight line in logarithms, so only the threshold is searched.
    """
    low, high = 0.0, float(volts[0]) * (1 - 1e-9)
    best = _line(volts, clocks, low)
    for _ in range(8):  # each round shrinks the bracket 25-fold
        grid = np.linspace(low, high, 51)
        fits = [_line(volts, clocks, float(threshold)) for threshold in grid]
        at = min(range(len(fits)), key=lambda i: fits[i][0])
        best = fits[at]
        low, high = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, len(grid) - 1)])
    return best[1:]


def _line(
    volts: Float64[np.ndarray, " v"], clocks: Float64[np.ndarray, " v"], threshold: float
) -> tuple[float, float, float, float]:
    """Squared error, gain, threshold and alpha of the best line of log(clock * V) over log(V - threshold)."""
    x, y = np.log(volts - threshold), np.log(clocks * volts)
    alpha = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    offset = float(y.mean() - alpha * x.mean())
    return float(((offset + alpha * x - y) ** 2).sum()), float(np.exp(offset)), threshold, alpha
