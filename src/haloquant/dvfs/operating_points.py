"""Which weight values of a MAC meet a clock period, and which period a set of weight values needs.

Every look-up of weight values in a profile goes through `rows_of`, which refuses a value that the profile lacks.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int16, Int64

from haloquant.errors import InfeasibleError, ProfileError
from haloquant.records import MacProfile, OperatingPoint
from haloquant.units import engineering

_MOST_NAMED = 3  # missing values that an error lists
_ROUNDING = 1e-9  # a delay that is a clock period but for the last digit meets it

Values = np.ndarray | Sequence[int]


def rows_of(profile: MacProfile, values: Values, what: str = "the weight values") -> Int64[np.ndarray, " codes"]:
    """Return the row of each weight value in the profile's tables (`profile.weights[rows] == values`).

    Args:
        profile: The MAC.
        values: Weight values in any order; repeats are allowed.
        what: The subject of the error sentence.

    Raises:
        ProfileError: The profile lacks one of the values. The error names the first few that are missing.
    """
    wanted = np.asarray(values, np.int64)
    rows = np.minimum(np.searchsorted(profile.weights, wanted), profile.weights.size - 1)
    missing = np.unique(wanted[profile.weights[rows] != wanted]).tolist()
    if missing:
        named = ", ".join(map(str, missing[:_MOST_NAMED]))
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise ProfileError(
            f"{what} must be among the {profile.weights.size} of profile {profile.name} "
            f"({profile.weights[0]} to {profile.weights[-1]}), not {named}{more}"
        )
    return rows


def check_integer_weights(profile: MacProfile) -> None:
    """Refuse a MAC of floats: words, tiles and systems are made of whole numbers, and so are inputs and sums.

    Raises:
        ProfileError: Its weights, its activations or its results are floats.
    """
    if profile.weight_format != "integer":
        raise ProfileError(
            f"profile {profile.name} is of a MAC whose weights are 8-bit floats ({profile.weight_format}), and this "
            f"needs whole numbers; choose the profile of an integer MAC (`haloquant profiles`), or see which floats "
            f"meet a period with `haloquant profiles --profile FILE --period-ps P`"
        )
    for what, key in (("activations", "activation_format"), ("results", "result_format")):
        form = profile.provenance.get(key, "integer")
        if form not in ("integer", "fixed"):
            raise ProfileError(
                f"profile {profile.name} is of a MAC whose {what} are floats ({form}), and this needs whole numbers; "
                "choose the profile of an integer MAC (`haloquant profiles`)"
            )


def delays_of(profile: MacProfile, corner: int, values: Values) -> Float64[np.ndarray, " codes"]:
    """Return the delay in s of each of these weight values at one corner.

    Raises:
        ProfileError: The profile lacks one of the values.
    """
    return profile.delay_s[corner][rows_of(profile, values)]


def slowest_delay_s(profile: MacProfile, corner: int, values: Values) -> float:
    """Return the delay in s of the slowest of these weight values at one corner.

    Raises:
        ProfileError: The profile lacks one of the values, or there is no value.
    """
    delay_s = delays_of(profile, corner, values)
    if not delay_s.size:
        raise ProfileError(f"the slowest of some weight values of {profile.name} needs at least one value, not none")
    return float(delay_s.max())


def period_for(profile: MacProfile, corner: int, values: Values, margin_s: float = 0.0) -> float:
    """Return the shortest period in s at which all of these weight values meet timing: slowest delay plus margin.

    Raises:
        ProfileError: The profile lacks one of the values, or there is no value.
    """
    return slowest_delay_s(profile, corner, values) + margin_s


def best_shift(
    profile: MacProfile,
    corner: int,
    values: Values,
    frequency: Float64[np.ndarray, " codes"] | None = None,
    period: Callable[[Values], float] | None = None,
) -> int | None:
    """Return the shift to the left at which integers run fastest on a MAC; in a tie, the one of least mean energy.

    Integers that are narrower than the MAC's weight may be multiplied by a power of two, because their scale can be
    divided by the same power.

    Args:
        profile: The MAC.
        corner: The profile's corner.
        values: The integers.
        frequency: How often each occurs, for the mean energy; equally often by default.
        period: Returns the clock period in s of shifted values; the delay of the slowest value by default.

    Returns:
        The shift, or None if the profile lacks a value at every shift.
    """
    own = np.asarray(values, np.int64)
    weights = np.ones(own.size) if frequency is None else frequency
    every = profile.energy_j[corner]
    mean_j = float(every[np.isfinite(every)].mean())  # of a value whose energy is not known
    best: int | None = None
    key = (np.inf, np.inf)
    for shift in range(8):
        moved = np.left_shift(own, shift)
        if moved.min() < profile.weights[0] or moved.max() > profile.weights[-1]:
            break
        if not np.isin(moved, profile.weights).all():
            continue
        energy = profile.energy_j[corner][rows_of(profile, moved)]
        energy[~np.isfinite(energy)] = mean_j
        period_s = slowest_delay_s(profile, corner, moved) if period is None else period(moved)
        candidate = (period_s, float(np.average(energy, weights=weights)))
        if candidate < key:
            best, key = shift, candidate
    return best


def admissible_values(
    profile: MacProfile, corner: int, period_s: float, margin_s: float = 0.0
) -> Int16[np.ndarray, " codes"]:
    """Return the weight values, ascending, with delay + margin <= period.

    Raises:
        InfeasibleError: No value meets the period.
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


def least_energy_point(
    profile: MacProfile, corner: int, values: Values, points: Sequence[OperatingPoint]
) -> OperatingPoint:
    """Return the point of lowest supply at whose clock all of these weight values meet timing.

    Switching energy grows with the square of the supply, so the lowest supply has the least energy. This is how the
    HALO paper chooses the point of its sparse engine.

    Args:
        profile: The MAC; its delays are taken to hold at the supply of every point, as the paper takes them.
        corner: Index of the corner.
        values: Weight values in any order.
        points: The points to choose from. Of two with the same supply the faster one is taken.

    Raises:
        ProfileError: the profile lacks one of the values, or there is no value.
        InfeasibleError: the values meet the clock of no point.
    """
    slowest_s = slowest_delay_s(profile, corner, values)
    met = [point for point in points if slowest_s <= point.period_s * (1 + _ROUNDING)]
    if not met:
        least = min((point.frequency_hz for point in points), default=0.0)
        raise InfeasibleError(
            f"a point must have a clock of at most {engineering(1 / slowest_s, 'Hz')}, which all values of "
            f"{profile.name} meet; the slowest of {len(points)} has {engineering(least, 'Hz')}"
        )
    return min(met, key=lambda point: (point.voltage_v, -point.frequency_hz))
