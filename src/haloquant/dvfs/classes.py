"""From a MAC's profile to classes: for each, the shortest period at which a good enough codebook exists.

The paper fixes clocks and takes the words that meet them. A MAC whose values are ordered otherwise would get a hopeless
codebook that way, so the trade is stated instead: a class may lose so many decibels of weight fidelity against the best
words of any kind, and gets the fastest clock at which that holds. The result is reported with its clock ratio, which
for an optimised MAC is small; that is the truth about the MAC.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16

from haloquant.errors import InfeasibleError, ProfileError
from haloquant.quant.codebook import WeightSample, best_subset, histogram_of, select_codebook
from haloquant.records import Codebook, MacProfile, OperatingPoint

# Standard deviations that the largest word may stand for, while the period is sought.
REACHES = (2.0, 2.7, 3.4)


@dataclass(frozen=True)
class Classes:
    """The classes of a job, fastest first; the last is `base`, which holds every weight value."""

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
        """How much faster a class is than the MAC's slowest value."""
        return self.codebooks[index].point.frequency_hz / self.base.point.frequency_hz


def choose_classes(
    profile: MacProfile,
    corner: int,
    sample: WeightSample,
    sizes: tuple[tuple[str, int, float], ...],
    margin: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> Classes:
    """Return one codebook per (name, words, loss in dB), fastest first, and the base class.

    Args:
        profile: The MAC.
        corner: Which of its corners.
        sample: Weights of the model, which decide what a good codebook is.
        sizes: Of each class its name, the most words, and how many dB its error may exceed the best words' error.
        margin: Part of the period kept free.
        progress: Called with classes done and classes in all.

    Raises:
        InfeasibleError: no value beside 0 meets any period (a profile of one value).
        ProfileError: the value 0 is not in the profile.
    """
    if 0 not in profile.weights:
        raise ProfileError(
            f"profile {profile.name} must hold the weight value 0, which pads tiles and stands where weights are sparse"
        )
    if profile.weights.size == 1:
        raise InfeasibleError(
            f"profile {profile.name} must admit a weight value beside 0 for class {sizes[0][0]}, and no period does"
        )
    delay = profile.delay_s[corner]
    voltage = profile.corners[corner].voltage_v
    books: list[Codebook] = []
    for done, (name, words, loss_db) in enumerate(sizes):
        books.append(_fastest(profile, delay, voltage, sample, name, words, loss_db, margin))
        if progress:
            progress(done + 1, len(sizes))
    period = float(delay.max()) / (1.0 - margin)
    base = Codebook("base", profile.weights, OperatingPoint(voltage, 1.0 / period), period * margin)
    return Classes(profile, corner, (*books, base))


def _fastest(
    profile: MacProfile,
    delay: Float64[np.ndarray, " w"],
    voltage: float,
    sample: WeightSample,
    name: str,
    words: int,
    loss_db: float,
    margin: float,
) -> Codebook:
    """Bisect over the profile's delays: the error of the best words falls as the period grows.

    The bisection asks the exact best words on the weights' histogram at a few scales, which is quick; the class's own
    codebook is then chosen with all care.
    """
    histogram = histogram_of(sample)
    periods = np.unique(delay)
    allowed = _least_error(profile.weights, histogram, words) * 10.0 ** (loss_db / 10.0)
    low, high = 0, len(periods) - 1
    while low < high:
        middle = (low + high) // 2
        values = admissible(profile, delay, float(periods[middle]))
        if np.any(values != 0) and _least_error(values, histogram, words) <= allowed:
            high = middle
        else:
            low = middle + 1
    values = admissible(profile, delay, float(periods[high]))
    return _book(profile, delay, voltage, sample, name, words, values, margin)


def _least_error(
    values: Int16[np.ndarray, " n"], histogram: tuple[np.ndarray, np.ndarray, np.ndarray], words: int
) -> float:
    """Error of the best words out of `values`, relative to the weights' energy, over a few scales of either sign."""
    held = np.union1d(values, np.int16(0)).astype(np.int16)
    centres, mass, count = histogram
    free = np.zeros(held.size)
    sides = ((centres, mass, count), (centres, mass[::-1], count[::-1]))
    top = float(np.abs(held).max())
    return min(best_subset(held, free, side, reach / top, words)[0] for side in sides for reach in REACHES)


def admissible(profile: MacProfile, delay: Float64[np.ndarray, " w"], period_s: float) -> Int16[np.ndarray, " n"]:
    """The weight values whose delay is at most `period_s`; 0 always, as a weight of 0 need not be multiplied."""
    return profile.weights[(delay <= period_s) | (profile.weights == 0)]


def _book(
    profile: MacProfile,
    delay: Float64[np.ndarray, " w"],
    voltage: float,
    sample: WeightSample,
    name: str,
    words: int,
    values: Int16[np.ndarray, " n"],
    margin: float,
) -> Codebook:
    rows = np.searchsorted(profile.weights, values)
    period = float(delay[rows].max()) / (1.0 - margin)
    point = OperatingPoint(voltage, 1.0 / period)
    slack = period * (1.0 - margin) - delay[rows]
    book = select_codebook(values, sample, name=name, point=point, slack_s=slack, size=words)
    # The chosen words may all be faster than the set they came from: the clock is theirs.
    chosen = np.searchsorted(profile.weights, book.values)
    period = float(delay[chosen].max()) / (1.0 - margin)
    return Codebook(name, book.values, OperatingPoint(voltage, 1.0 / period), period * margin)
