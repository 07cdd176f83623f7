"""Choice of the classes of a MAC: for each class the shortest period at which a codebook of sufficient accuracy exists.

The HALO paper fixes the clocks and takes the words that meet them (`classes_at_clocks`). A MAC with another order of
delays would get a poor codebook that way. In `choose_classes` each class has a limit in decibels instead. Its weight
error may exceed that of the best codebook of its size, chosen without a timing limit, by at most this limit. The class
gets the fastest clock with such a codebook. `Classes.clock_ratio` is this clock over the clock that every value meets;
on a MAC that was optimized for speed the ratio is small.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Int16

from haloquant.dvfs.operating_points import (
    admissible_values,
    check_integer_weights,
    delays_of,
    rows_of,
    slowest_delay_s,
)
from haloquant.errors import InfeasibleError, InputError, ProfileError
from haloquant.quant.codebook import WeightSample, best_subset, histogram_of, select_codebook
from haloquant.records import Codebook, MacProfile, OperatingPoint

# Trial scales of the period search: the largest word represents this many standard deviations of the weights.
_REACHES = (2.0, 2.7, 3.4)


@dataclass(frozen=True)
class Classes:
    """The classes of a job, fastest first. The last is `base`, which holds every weight value of the profile."""

    profile: MacProfile
    corner: int
    codebooks: tuple[Codebook, ...]

    @property
    def base(self) -> Codebook:
        """The class whose clock every weight value meets."""
        return self.codebooks[-1]

    @property
    def points(self) -> tuple[OperatingPoint, ...]:
        """Operating point of every class."""
        return tuple(book.point for book in self.codebooks)

    def clock_ratio(self, index: int) -> float:
        """Clock of a class over the clock that the MAC's slowest value meets."""
        return self.codebooks[index].point.frequency_hz / self.base.point.frequency_hz


def choose_classes(
    profile: MacProfile,
    corner: int,
    sample: WeightSample,
    sizes: tuple[tuple[str, int, float], ...],
    margin: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    energy_weight: float = 0.0,
) -> Classes:
    """Return one codebook per (name, words, loss in dB), fastest first, and the base class.

    Args:
        profile: The MAC.
        corner: Which of its corners.
        sample: Weights of the model, for which the codebooks are chosen.
        sizes: For each class its name, the most words, and how many dB its error may exceed the best codebook's.
        margin: Share of the period that is kept free.
        progress: Called with the number of classes done and the number of all.
        energy_weight: Weight of switching energy beside the error (`quant.codebook.select_codebook`).

    Raises:
        InfeasibleError: The profile holds no value other than 0.
        ProfileError: The profile lacks the value 0.
    """
    check_words(profile)
    books: list[Codebook] = []
    for done, (name, words, loss_db) in enumerate(sizes):
        values = _fastest(profile, corner, sample, words, loss_db)
        books.append(_codebook(profile, corner, sample, name, words, values, margin, energy_weight))
        if progress:
            progress(done + 1, len(sizes))
    return Classes(profile, corner, (*books, _base(profile, corner, margin)))


def classes_at_clocks(
    profile: MacProfile,
    corner: int,
    sample: WeightSample,
    sizes: tuple[tuple[str, int, float], ...],
    margin: float = 0.0,
    energy_weight: float = 0.0,
) -> Classes:
    """Return one codebook per (name, words, clock in Hz), fastest first, and the base class: the paper's way.

    A class takes the values whose delay meets its clock, or the best of them if there are more than its words. It runs
    at that clock; the time that its slowest word leaves is its slack.

    Args:
        profile: The MAC.
        corner: Which of its corners.
        sample: Weights of the model, for which the words are chosen where there are too many.
        sizes: For each class its name, the most words, and its clock in Hz. The clocks are in descending order.
        margin: Share of the period that is kept free.
        energy_weight: As in `choose_classes`.

    Raises:
        InfeasibleError: No value, or no value other than 0, meets a clock.
        InputError: The clocks are not in descending order, or all values meet one of them.
        ProfileError: The profile lacks the value 0.
    """
    check_words(profile)
    base = _base(profile, corner, margin)
    check_clocks(profile, corner, [clock_hz for _, _, clock_hz in sizes], margin)
    voltage_v = profile.corners[corner].voltage_v
    books: list[Codebook] = []
    for name, words, clock_hz in sizes:
        left_s = (1.0 - margin) / clock_hz
        values = admissible_values(profile, corner, left_s)
        book = select_codebook(
            values,
            sample,
            name=name,
            point=OperatingPoint(voltage_v, clock_hz),
            slack_s=left_s - delays_of(profile, corner, values),
            size=words,
            energy_j=_energies_j(profile, corner, values, energy_weight),
            energy_weight=energy_weight,
        )
        books.append(book)
    return Classes(profile, corner, (*books, base))


def fastest_classes(profile: MacProfile, corner: int, margin: float = 0.0, clocks_hz: Sequence[float] = ()) -> Classes:
    """Return two classes that bound every choice of words: none runs at a higher clock, or switches with less energy.

    Both hold 0 and the fastest other value. In their profile every value has the energy of the one with least.

    Args:
        profile: The MAC.
        corner: Which of its corners.
        margin: Share of the period that is kept free.
        clocks_hz: Clocks of the classes in Hz, fastest first, where they are given.

    Raises:
        ProfileError: The profile lacks the value 0.
        InfeasibleError: It holds no other value.
    """
    check_words(profile)
    others = profile.weights[profile.weights != 0]
    fastest = others[np.argmin(delays_of(profile, corner, others))]
    words = np.union1d(np.int16(0), fastest).astype(np.int16)
    clock_hz = clocks_hz[0] if clocks_hz else (1.0 - margin) / slowest_delay_s(profile, corner, words)
    point = OperatingPoint(profile.corners[corner].voltage_v, clock_hz)
    least = replace(profile, energy_j=np.full_like(profile.energy_j, np.nanmin(profile.energy_j)))
    books = tuple(Codebook(name, words, point, 0.0) for name in ("fast", "slow"))
    return Classes(least, corner, (*books, _base(profile, corner, margin)))


def check_clocks(profile: MacProfile, corner: int, clocks_hz: Sequence[float], margin: float) -> None:
    """Check the clocks of classes, which are in Hz, fastest first.

    Raises:
        InfeasibleError: The value 0, or every other value, misses a clock.
        InputError: The clocks are not in descending order, or all values meet one of them.
    """
    lowest = _base(profile, corner, margin).point.frequency_hz
    if any(a <= b for a, b in pairwise(clocks_hz)) or not clocks_hz[-1] > lowest:
        given = ", ".join(f"{clock_hz / 1e9:g}" for clock_hz in clocks_hz)
        raise InputError(
            f"the clocks of the classes must fall and stay above the {lowest / 1e9:.4g} GHz that every value of "
            f"{profile.name} meets, not {given} GHz"
        )
    for clock_hz in clocks_hz:
        values = admissible_values(profile, corner, (1.0 - margin) / clock_hz)
        if 0 not in values or values.size < 2:
            raise InfeasibleError(
                f"the clock of a class must be one that the value 0 of {profile.name} and another one meet, not "
                f"{clock_hz / 1e9:g} GHz"
            )


def check_words(profile: MacProfile) -> None:
    """Check that a MAC has weight values to choose words from: whole numbers, 0 and another.

    Raises:
        ProfileError: Its values are floats, or it lacks 0.
        InfeasibleError: It holds no other value.
    """
    check_integer_weights(profile)
    if 0 not in profile.weights:
        raise ProfileError(
            f"profile {profile.name} must hold the weight value 0, which pads tiles and replaces sparse weights"
        )
    if profile.weights.size == 1:
        raise InfeasibleError(
            f"profile {profile.name} must hold a weight value other than 0 for the words of classes, and holds none"
        )


def _base(profile: MacProfile, corner: int, margin: float) -> Codebook:
    """Return the class of all values."""
    period_s = float(profile.delay_s[corner].max()) / (1.0 - margin)
    point = OperatingPoint(profile.corners[corner].voltage_v, 1.0 / period_s)
    return Codebook("base", profile.weights, point, period_s * margin)


def _energies_j(profile: MacProfile, corner: int, values: Int16[np.ndarray, " n"], weight: float) -> np.ndarray | None:
    """Return the switching energy of each value, or None where energy has no weight."""
    return profile.energy_j[corner][rows_of(profile, values)] if weight else None


def _fastest(
    profile: MacProfile, corner: int, sample: WeightSample, words: int, loss_db: float
) -> Int16[np.ndarray, " n"]:
    """The values at the shortest period at which the best codebook's error exceeds the best one by at most `loss_db`.

    The best codebook's error falls as the period grows, so the period is found by bisection over the profile's delays.
    The bisection uses the exact best words for the weights' histogram at a few scales, which is quick. The codebook at
    the period found is then chosen by the full search (`_codebook`).
    """
    histogram = histogram_of(sample)
    periods_s = np.unique(profile.delay_s[corner])
    allowed = _least_error(profile.weights, histogram, words) * 10.0 ** (loss_db / 10.0)
    low, high = 0, len(periods_s) - 1
    while low < high:
        middle = (low + high) // 2
        values = _admissible_and_zero(profile, corner, float(periods_s[middle]))
        if np.any(values != 0) and _least_error(values, histogram, words) <= allowed:
            high = middle
        else:
            low = middle + 1
    return _admissible_and_zero(profile, corner, float(periods_s[high]))


def _least_error(
    values: Int16[np.ndarray, " n"], histogram: tuple[np.ndarray, np.ndarray, np.ndarray], words: int
) -> float:
    """Least error of `words` words out of `values` over some scales of either sign, relative to the weights' energy."""
    held = np.union1d(values, np.int16(0)).astype(np.int16)
    centres, mass, count = histogram
    free = np.zeros(held.size)
    sides = ((centres, mass, count), (centres, mass[::-1], count[::-1]))
    top = float(np.abs(held).max())
    return min(best_subset(held, free, side, reach / top, words)[0] for side in sides for reach in _REACHES)


def _admissible_and_zero(profile: MacProfile, corner: int, period_s: float) -> Int16[np.ndarray, " n"]:
    """The values that meet the period, and 0, which the array need not multiply."""
    return np.union1d(admissible_values(profile, corner, period_s), np.int16(0)).astype(np.int16)


def _codebook(
    profile: MacProfile,
    corner: int,
    sample: WeightSample,
    name: str,
    words: int,
    values: Int16[np.ndarray, " n"],
    margin: float,
    energy_weight: float,
) -> Codebook:
    """The best codebook out of `values`, clocked by the slowest of the words that were chosen."""
    voltage_v = profile.corners[corner].voltage_v
    slowest_s = slowest_delay_s(profile, corner, values)
    point = OperatingPoint(voltage_v, (1.0 - margin) / slowest_s)
    # Not from the period, whose rounding would make the slack of the slowest value less than 0 at many margins.
    slack_s = slowest_s - delays_of(profile, corner, values)
    book = select_codebook(
        values,
        sample,
        name=name,
        point=point,
        slack_s=slack_s,
        size=words,
        energy_j=_energies_j(profile, corner, values, energy_weight),
        energy_weight=energy_weight,
    )
    # The chosen words may all be faster than the slowest value they were chosen from.
    period_s = slowest_delay_s(profile, corner, book.values) / (1.0 - margin)
    return Codebook(name, book.values, OperatingPoint(voltage_v, 1.0 / period_s), period_s * margin)
