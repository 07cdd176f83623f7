"""Operating points of a MAC: which weight values meet a period, which period a set of values needs, at which voltage.

Voltage enters through corners of one process and temperature: their delays fit the alpha-power law (Sakurai and Newton,
IEEE J. Solid-State Circuits 25(2), 1990), clock = gain * (V - threshold)**alpha / V.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16

from haloquant.errors import InfeasibleError, ProfileError
from haloquant.records import Corner, MacProfile, OperatingPoint
from haloquant.units import engineering

_FEWEST_VOLTAGES = 3  # as many as the law has parameters


def corner_index(profile: MacProfile, name: str) -> int:
    """Return the index of the corner of that name.

    Raises:
        ProfileError: the profile has no such corner.
    """
    names = [corner.name for corner in profile.corners]
    if name not in names:
        raise ProfileError(f"the corner must be one of {', '.join(names)}, not {name!r}")
    return names.index(name)


def admissible(profile: MacProfile, corner: int, period_s: float, margin_s: float = 0.0) -> Int16[np.ndarray, " codes"]:
    """Return the weight values, ascending, whose delay and margin fit into the period.

    Raises:
        InfeasibleError: no value meets the period.
    """
    delay_s = profile.delay_s[corner]
    found = profile.weights[delay_s + margin_s <= period_s]
    if not found.size:
        least = engineering(float(delay_s.min()) + margin_s, "s")
        raise InfeasibleError(
            f"the period must be at least {least} in {profile.name} at {profile.corners[corner].name}, "
            f"not {engineering(period_s, 's')}: no weight value meets it"
        )
    return found


def delay_of(profile: MacProfile, corner: int, values: Int16[np.ndarray, " codes"]) -> float:
    """Return the delay in s of the slowest of these weight values.

    Raises:
        ProfileError: a value that the profile does not hold, or none at all.
    """
    missing = np.setdiff1d(values, profile.weights)
    if missing.size or not values.size:
        what = f"{missing[0]}" if missing.size else "none"
        raise ProfileError(f"the weight values must be among the {profile.weights.size} of {profile.name}, not {what}")
    return float(profile.delay_s[corner][np.searchsorted(profile.weights, values)].max())


def period_for(profile: MacProfile, corner: int, values: Int16[np.ndarray, " codes"], margin_s: float = 0.0) -> float:
    """Return the shortest period in s at which all of these weight values meet timing.

    Raises:
        ProfileError: a value that the profile does not hold, or none at all.
    """
    return delay_of(profile, corner, values) + margin_s


def fastest(profile: MacProfile, corner: int, count: int) -> Int16[np.ndarray, " codes"]:
    """Return the `count` fastest weight values, ascending, 0 always among them; of equals the smaller magnitude.

    Raises:
        ProfileError: the profile holds fewer values.
    """
    if not 1 <= count <= profile.weights.size:
        raise ProfileError(f"{profile.name} holds 1 to {profile.weights.size} values, not {count}")
    magnitude = np.abs(profile.weights.astype(np.int32))
    order = np.lexsort((profile.weights, magnitude, profile.delay_s[corner], profile.weights != 0))
    return np.sort(profile.weights[order[:count]])


@dataclass(frozen=True, slots=True)
class VfCurve:
    """Clock against supply voltage of a set of weight values, fitted to corners of one process and temperature."""

    gain_hz: float
    threshold_v: float
    alpha: float
    voltage_v: tuple[float, ...]  # measured, ascending
    frequency_hz: tuple[float, ...]
    worst_error: float  # largest relative error of the fitted clock at a measured voltage
    process: str
    temperature_c: float


def families(profile: MacProfile) -> dict[tuple[str, float], tuple[int, ...]]:
    """Return the corners that differ in voltage alone: indices ascending in voltage, by (process, temperature)."""
    found: dict[tuple[str, float], list[int]] = {}
    for i, corner in enumerate(profile.corners):
        found.setdefault((corner.process, corner.temperature_c), []).append(i)
    return {key: tuple(sorted(members, key=lambda i: profile.corners[i].voltage_v)) for key, members in found.items()}


def vf_curve(
    profile: MacProfile,
    process: str | None = None,
    temperature_c: float | None = None,
    values: Int16[np.ndarray, " codes"] | None = None,
    margin_s: float = 0.0,
) -> VfCurve:
    """Fit the alpha-power law to the corners of one process and temperature (the family of most voltages where None).

    Args:
        profile: of a library with several voltages.
        process: "ss", "tt", "ff".
        temperature_c: in degrees Celsius.
        values: the weight values that must meet timing; all where None.
        margin_s: added to every delay, the same at every voltage.

    Raises:
        InfeasibleError: fewer than three voltages of one process and temperature.
    """
    wanted = {
        key: members
        for key, members in families(profile).items()
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
    clocks = np.array([1.0 / period_for(profile, i, chosen, margin_s) for i in members], dtype=np.float64)
    gain, threshold, alpha = _fit(volts, clocks)
    error = np.abs(_law(volts, gain, threshold, alpha) / clocks - 1.0)
    return VfCurve(
        gain, threshold, alpha, tuple(volts.tolist()), tuple(clocks.tolist()), float(error.max()), key[0], key[1]
    )


def clock_at(curve: VfCurve, voltage_v: float) -> float:
    """Return the fitted clock in Hz at a voltage inside the measured range.

    Raises:
        InfeasibleError: the voltage is outside; `clock_beyond` extrapolates.
    """
    low, high = curve.voltage_v[0], curve.voltage_v[-1]
    if not low <= voltage_v <= high:
        raise InfeasibleError(
            f"the voltage must be {low:g} to {high:g} V, where the curve was measured, not {voltage_v:g}"
        )
    return clock_beyond(curve, voltage_v)


def clock_beyond(curve: VfCurve, voltage_v: float) -> float:
    """Return the fitted clock in Hz at any voltage; outside the measured range this is an extrapolation.

    Raises:
        InfeasibleError: the voltage is at or below the fitted threshold.
    """
    if voltage_v <= curve.threshold_v:
        raise InfeasibleError(
            f"the voltage must be above the fitted threshold {curve.threshold_v:.3g} V, not {voltage_v:g}"
        )
    return float(_law(np.array([voltage_v]), curve.gain_hz, curve.threshold_v, curve.alpha)[0])


def least_voltage(curve: VfCurve, frequency_hz: float) -> OperatingPoint:
    """Return the operating point of that clock at the least voltage, inside the measured range.

    Raises:
        InfeasibleError: the clock is above what the highest measured voltage gives.
    """
    low, high = curve.voltage_v[0], curve.voltage_v[-1]
    if frequency_hz <= clock_at(curve, low):
        return OperatingPoint(low, frequency_hz)
    top = clock_at(curve, high)
    if frequency_hz > top:
        raise InfeasibleError(
            f"the clock must be at most {engineering(top, 'Hz')}, what {high:g} V gives, "
            f"not {engineering(frequency_hz, 'Hz')}"
        )
    for _ in range(60):  # bisection: the law rises with the voltage
        middle = 0.5 * (low + high)
        low, high = (middle, high) if clock_at(curve, middle) < frequency_hz else (low, middle)
    return OperatingPoint(high, frequency_hz)


def energy_at(profile: MacProfile, corner: int, voltage_v: float) -> Float64[np.ndarray, " w"]:
    """Return each value's energy in J at another voltage: charge is kept, so energy goes with the voltage squared."""
    known: Corner = profile.corners[corner]
    return profile.energy_j[corner] * (voltage_v / known.voltage_v) ** 2


def _law(volts: Float64[np.ndarray, " v"], gain: float, threshold: float, alpha: float) -> Float64[np.ndarray, " v"]:
    return gain * (volts - threshold) ** alpha / volts


def _fit(volts: Float64[np.ndarray, " v"], clocks: Float64[np.ndarray, " v"]) -> tuple[float, float, float]:
    """Least squares of log clock. For a given threshold the law is a line in logarithms; the threshold is searched."""
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
    """Squared error, gain, threshold, alpha of the best line of log(clock * V) over log(V - threshold)."""
    x, y = np.log(volts - threshold), np.log(clocks * volts)
    alpha = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    offset = float(y.mean() - alpha * x.mean())
    return float(((offset + alpha * x - y) ** 2).sum()), float(np.exp(offset)), threshold, alpha
