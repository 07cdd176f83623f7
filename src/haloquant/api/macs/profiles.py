"""The MAC profiles that come with the package, and which weight values a MAC multiplies at which clock and voltage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int16

from haloquant.api.arguments import check_range, path_text
from haloquant.circuits.number_formats import weight_of
from haloquant.dvfs.alpha_power_law import VfCurve, least_voltage, vf_curve
from haloquant.dvfs.operating_points import admissible_values, period_for
from haloquant.errors import InputError
from haloquant.records import MacProfile
from haloquant.records.tiles import CLASS_WORDS
from haloquant.store.profiles import fastest_for_any_value, find_profile, read_profile, shipped_profiles


@dataclass(frozen=True)
class MacFigures:
    """What a MAC's fastest few weight values gain, by static delay at the profile's first corner."""

    profile: MacProfile
    slowest_s: float
    """Delay of the slowest weight value."""
    own_ratio: Mapping[int, float]
    """For each number of words: how many times faster the fastest so many are than the slowest value."""
    absolute_ratio: Mapping[int, float] | None
    """The same against the slowest value of the fastest MAC of the library; None if the library has no other MAC."""
    mean_energy_j: float | None
    """Mean energy of an operation over all values; None if it is not known."""


@dataclass(frozen=True)
class PointOfValues:
    """A clock period in seconds and the weight values that meet it."""

    period_s: float
    values: Int16[np.ndarray, " words"]
    mean_energy_j: float | None


@dataclass(frozen=True)
class ProfileDescription:
    """One MAC with its operating points."""

    figures: MacFigures
    points: tuple[PointOfValues, ...]
    least_voltage_v: float | None
    """The lowest supply at which the values of the last point meet the clock that was asked for; None without one."""

    def voltage_law(self, point: PointOfValues) -> VfCurve:
        """Return the law of supply and clock for the values of a point.

        Raises:
            InfeasibleError: The profile has fewer than three voltages.
        """
        return vf_curve(self.figures.profile, values=point.values)


def list_profiles() -> dict[str, MacFigures]:
    """Return the figures of every MAC that comes with the package, by name.

    Example:
        ```python
        from haloquant.api import list_profiles

        for name, found in list_profiles().items():
            print(name, f"{found.slowest_s * 1e12:.0f} ps", f"9 words {found.own_ratio[9]:.2f}x")
        ```
    """
    known = {name: read_profile(path) for name, path in shipped_profiles().items()}
    return {name: _figures(mac, known) for name, mac in known.items()}


def figures_of(mac: MacProfile) -> MacFigures:
    """Return the figures of a MAC among those that come with the package."""
    return _figures(mac, {name: read_profile(path) for name, path in shipped_profiles().items()})


def describe_profile(
    profile: str | Path = "default",
    *,
    period_s: float | None = None,
    words: Sequence[int | float] | None = None,
    clock_hz: float | None = None,
) -> ProfileDescription:
    """Return a MAC with its usual operating points, or with the one that is asked for.

    Args:
        profile: Name of a shipped profile, or a file that `characterize` wrote.
        period_s: Return the values that meet this clock period, in seconds.
        words: Return the least period of these weight values: whole numbers, or floats where the MAC takes floats.
        clock_hz: Also return the least supply for this clock, in hertz.

    Raises:
        InputError: There is no such profile, a number is not allowed, or both `period_s` and `words` are given.
        ProfileError: The profile lacks one of the words.
        InfeasibleError: No value meets the period, or the profile has too few voltages for `clock_hz`.

    Example:
        ```python
        from haloquant.api import describe_profile

        for point in describe_profile("default").points:
            print(f"{point.period_s * 1e12:.0f} ps", point.values.size, "values")
        ```
    """
    mac = find_profile(path_text("profile", profile))
    if period_s is not None and words is not None:
        raise InputError("period_s and words must not both be given: one follows from the other")
    if period_s is not None:
        check_range("period_s", period_s, 1e-15, 1.0)
        held = [(period_s, admissible_values(mac, 0, period_s))]
    elif words is not None:
        values = np.unique(np.array([weight_of(word, mac.weight_format) for word in words], np.int16))
        held = [(period_for(mac, 0, values), values)]
    else:
        delay = np.sort(mac.delay_s[0])
        periods = sorted({float(delay[min(count, delay.size) - 1]) for count in (*CLASS_WORDS, 256)})
        held = [(each, admissible_values(mac, 0, each)) for each in periods]
    points = tuple(PointOfValues(each, values, _mean_energy_j(mac, values)) for each, values in held)
    volts = None
    if clock_hz is not None:
        check_range("clock_hz", clock_hz, 1.0, 1e12)
        volts = least_voltage(vf_curve(mac, values=points[-1].values), clock_hz).voltage_v
    return ProfileDescription(figures_of(mac), points, volts)


def _figures(mac: MacProfile, known: Mapping[str, MacProfile]) -> MacFigures:
    """Return the figures of a MAC; `known` are the MACs among which the fastest of its library is found."""
    delay = np.sort(mac.delay_s[0])
    baseline = fastest_for_any_value(mac, known.values())
    period = {count: float(delay[min(count, len(delay)) - 1]) for count in reversed(CLASS_WORDS)}
    alone = baseline is mac and mac.name not in known
    slowest = float(baseline.delay_s[0].max())
    return MacFigures(
        mac,
        float(delay[-1]),
        {count: float(delay[-1]) / each for count, each in period.items()},
        None if alone else {count: slowest / each for count, each in period.items()},
        _mean_energy_j(mac, mac.weights),
    )


def _mean_energy_j(mac: MacProfile, values: Int16[np.ndarray, " words"]) -> float | None:
    """Return the mean energy of the values whose energy is known, or None if it is known of none."""
    energy = mac.energy_j[0][np.isin(mac.weights, values)]
    known = energy[~np.isnan(energy)]
    return float(known.mean()) if known.size else None
