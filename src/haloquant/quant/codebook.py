"""Choice of a codebook: the admissible weight values with the least error of this model's weights and little energy.

The admissible values (those whose delay meets the period) come from a measured profile. The weights come from the
model as a sample of scale groups. For one scale the best words are found exactly, by dynamic programming over the
histogram of normalized weights. The scale is scanned. The best words are then improved by exchanging single words,
evaluated on the sample itself, where every group has its own searched scale.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int16, UInt8
from numba import njit

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.rounding.scale_search import search
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, OperatingPoint, TileGrid

# Scales that are scanned: the weight that the largest admissible value represents, in rms of the group. At a large
# scale the largest values stay unused.
_RANGES = np.geomspace(1.6, 16.0, 28)
_BINS = 2048  # bins of the histogram
_LIMIT = 8.0  # end of the histogram in rms; larger weights count at the end


@dataclass(frozen=True)
class WeightSample:
    """Sample of a model's scale groups. A scale group is one output channel of one tile.

    Attributes:
        groups: weights, each group divided by its rms.
        importance: importance of each weight, times rms^2 of its group. So errors of normalized weights add up to the
            weighted error of the model. The mean is 1.
    """

    groups: Float32[np.ndarray, "n length"]
    importance: Float32[np.ndarray, "n length"]


def sample_groups(
    layers: Iterable[tuple[Float32[np.ndarray, "out in"], Float32[np.ndarray, "rows in"]]],
    grid: TileGrid,
    per_layer: int = 256,
) -> WeightSample:
    """Take evenly spaced scale groups of every layer.

    Groups that are shortened by the end of the layer are left out, unless the layer is shorter than a tile: then the
    group is padded with zeros of importance 0. Groups of zeros are left out.

    Args:
        layers: weights with their importance ([out, in], or [1, in] for all output channels).
        grid: its `tile_in` is the length of a group; its layer sizes are not used.
        per_layer: number of groups taken from each layer.

    Raises:
        InputError: There is no layer, or every weight is 0.
    """
    length = grid.tile_in
    groups, importances = [], []
    for weight, importance in layers:
        across = max(1, weight.shape[1] // length)
        places = np.unique(np.linspace(0, weight.shape[0] * across - 1, per_layer).astype(np.int64))
        for row, a in zip(*np.divmod(places, across), strict=True):
            part = weight[row, a * length : (a + 1) * length].astype(np.float32)
            weighting = importance[min(row, importance.shape[0] - 1), a * length : (a + 1) * length]
            rms = np.sqrt(np.mean(part.astype(np.float64) ** 2))
            if rms == 0:
                continue
            pad = (0, length - part.size)
            groups.append(np.pad(part / np.float32(rms), pad))
            importances.append(np.pad(weighting.astype(np.float64) * rms**2, pad))
    if not groups:
        raise InputError(
            "the layers must hold weights other than 0, and a sample of them holds none: the checkpoint is damaged"
        )
    total = np.array(importances)
    return WeightSample(np.array(groups, np.float32), (total / total.mean()).astype(np.float32))


def gaussian_sample(groups: int = 512, length: int = 128, seed: int = 0) -> WeightSample:
    """Return standard normal weights of equal importance, for use without a model."""
    drawn = np.random.default_rng(seed).standard_normal((groups, length)).astype(np.float32)
    drawn /= np.sqrt(np.mean(drawn**2, axis=1, keepdims=True))
    return WeightSample(drawn, np.ones_like(drawn))


def select_codebook(
    admissible: Int16[np.ndarray, " n"],
    sample: WeightSample,
    *,
    name: str,
    point: OperatingPoint,
    slack_s: Float64[np.ndarray, " _"],
    size: int = 16,
    energy_j: Float64[np.ndarray, " _"] | None = None,
    energy_weight: float = 0.0,
) -> Codebook:
    """Choose at most `size` words, 0 among them, that make weighted error plus weighted switching energy small.

    The objective is sum h (w - scale word)^2 / sum h w^2 + energy_weight x (mean energy of the words, by how often each
    is used) / (mean energy of the admissible values), where h is the importance of weight w.

    Args:
        admissible: weight values that meet the period, ascending, 0 among them.
        sample: the model's weights.
        name: name of the class.
        point: operating point at which the admissible values meet timing.
        slack_s: period - delay - margin of every admissible value. The codebook gets the least slack of its words.
        size: greatest number of words.
        energy_j: switching energy of every admissible value.
        energy_weight: weight of energy in the objective; 0 counts the error alone.

    Raises:
        InputError: The admissible values are not ascending with 0 among them, or an argument does not fit.
        InfeasibleError: No value except 0 is admissible, or none is worth its energy.
    """
    _check(admissible, name, point, slack_s, size, energy_j, energy_weight)
    energy = (
        np.zeros(admissible.size)
        if energy_j is None or energy_weight == 0
        else energy_weight * energy_j / energy_j.mean()
    )
    if admissible.size <= size and not energy.any():
        chosen = np.arange(admissible.size)
    else:
        chosen = _scan(admissible, energy, sample, size)
        if chosen.size == 1:
            raise InfeasibleError(
                f"energy_weight must be so small that a word other than 0 is worth its energy in class {name}, not "
                f"{energy_weight:g}"
            )
        chosen = _polish(admissible, energy, sample, chosen)
    return Codebook(name, admissible[chosen].astype(np.int16), point, float(slack_s[chosen].min()))


def relative_error(
    values: Int16[np.ndarray, " codes"], sample: WeightSample
) -> tuple[float, UInt8[np.ndarray, "n length"]]:
    """Round a sample to a set of words, with a searched scale for every group.

    Args:
        values: the words, ascending, 0 among them.
        sample: the weights.

    Returns:
        The weighted squared error relative to that of rounding every weight to 0, and the code of every weight.
    """
    book = Codebook("trial", values.astype(np.int16), OperatingPoint(1.0, 1.0), 0.0)
    rows, length = sample.groups.shape
    tiles = uniform_map("sample", make_grid(rows, length, rows, length))
    scale, codes = search(sample.groups, sample.importance, tiles, (book,))
    error = sample.groups - values.astype(np.float32)[codes] * scale
    loss = np.sum(sample.importance * error**2, dtype=np.float64) / np.sum(
        sample.importance * sample.groups**2, dtype=np.float64
    )
    return float(loss), codes


def best_subset(
    admissible: np.ndarray,
    energy: np.ndarray,
    histogram: tuple[np.ndarray, np.ndarray, np.ndarray],
    scale: float,
    size: int,
) -> tuple[float, np.ndarray]:
    """Return the exact best words for one scale, by dynamic programming over neighbouring words.

    Args:
        admissible: ascending values, 0 among them.
        energy: cost of each value, in the unit of the objective, when all weights use it.
        histogram: bin centres (ascending), weighted mass and count of each bin (`histogram_of`).
        scale: the weight that one unit of a word represents; positive.
        size: greatest number of words.

    Returns:
        The objective, and the indices of the chosen words in `admissible`, ascending.
    """
    centres, mass, count = histogram
    sums = np.array([np.concatenate([[0.0], np.cumsum(x)]) for x in (mass, mass * centres, mass * centres**2, count)])
    zero = int(np.searchsorted(admissible, 0))
    objective, words, chosen = _best_words(admissible * scale, energy, centres, sums, zero, size)
    return float(objective), chosen[:words]


@njit
@no_type_check
def _cost(sums, low, high, level, charge):
    """Return the error and the energy of the weights in bins low to high if they use one word."""
    p0, p1 = sums[0, high] - sums[0, low], sums[1, high] - sums[1, low]
    p2, p3 = sums[2, high] - sums[2, low], sums[3, high] - sums[3, low]
    return p2 - 2 * level * p1 + level**2 * p0 + charge * p3


@njit(cache=True)
@no_type_check
def _best_words(levels, energy, centres, sums, zero, size):
    """Return the objective, the number of words and their indices.

    `sums` are cumulated over the bins. `best[j]` is the least objective of the weights below level j if j is the
    greatest of so many words; another word more is tried in each round. 0 is a word: no step leads over it.
    """
    n, bins = levels.size, centres.size
    edge = np.searchsorted(centres, levels, side="right")
    step = np.full((n, n), np.inf)
    for i in range(n):
        middle = edge[i]
        for j in range(i + 1, n):
            if i < zero < j:
                break
            bound = (levels[i] + levels[j]) / 2
            while middle < bins and centres[middle] <= bound:
                middle += 1
            step[i, j] = _cost(sums, edge[i], middle, levels[i], energy[i]) + _cost(
                sums, middle, edge[j], levels[j], energy[j]
            )
    best, finish = np.full(n, np.inf), np.full(n, np.inf)
    for i in range(n):
        if i <= zero:
            best[i] = _cost(sums, 0, edge[i], levels[i], energy[i])
        if i >= zero:
            finish[i] = _cost(sums, edge[i], bins, levels[i], energy[i])
    previous = np.zeros((size, n), np.int64)
    objective, words, last = np.inf, 0, 0
    for round_ in range(size):
        for j in range(n):
            total = best[j] + finish[j]
            if total < objective:
                objective, words, last = total, round_ + 1, j
        through = np.full(n, np.inf)
        for i in range(n):
            if best[i] < np.inf:
                for j in range(i + 1, n):
                    total = best[i] + step[i, j]
                    if total < through[j]:
                        through[j] = total
                        previous[round_, j] = i
        best = through
    chosen = np.zeros(size, np.int64)
    for place in range(words - 1, -1, -1):
        chosen[place] = last
        if place:
            last = previous[place - 1, last]
    return objective, words, chosen


def histogram_of(sample: WeightSample) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bins of a sample's normalized weights: centres, weighted mass and count.

    The mass is scaled so that mass x centre^2 sums to 1; the counts sum to 1.
    """
    values, weights = sample.groups.ravel().astype(np.float64), sample.importance.ravel().astype(np.float64)
    edges = np.linspace(-_LIMIT, _LIMIT, _BINS + 1)
    clipped = np.clip(values, -_LIMIT, _LIMIT)
    mass, _ = np.histogram(clipped, edges, weights=weights)
    count, _ = np.histogram(clipped, edges)
    centres = (edges[1:] + edges[:-1]) / 2
    return centres, mass / (mass * centres**2).sum(), count / count.sum()


def _scan(admissible: np.ndarray, energy: np.ndarray, sample: WeightSample, size: int) -> np.ndarray:
    """Return the best words of all scanned scales of both signs. A negative scale mirrors the histogram."""
    centres, mass, count = histogram_of(sample)
    found = (np.inf, np.empty(0, np.int64))
    for histogram in ((centres, mass, count), (centres, mass[::-1], count[::-1])):
        for reach in _RANGES:
            trial = best_subset(admissible, energy, histogram, reach / float(np.abs(admissible).max()), size)
            if trial[0] < found[0]:
                found = trial
    return found[1]


def _polish(admissible: np.ndarray, energy: np.ndarray, sample: WeightSample, chosen: np.ndarray) -> np.ndarray:
    """Exchange single words for near admissible values as long as the objective on the sample falls."""
    zero = int(np.searchsorted(admissible, 0))
    best = _objective(admissible[chosen], energy[chosen], sample)
    improved = True
    while improved:
        improved = False
        for place in range(chosen.size):
            if chosen[place] == zero:
                continue
            for move in (-3, -2, -1, 1, 2, 3):
                other = chosen[place] + move
                if not 0 <= other < admissible.size or other in chosen:
                    continue
                trial = np.sort(np.append(np.delete(chosen, place), other))
                value = _objective(admissible[trial], energy[trial], sample)
                if value < best * (1 - 1e-4):
                    chosen, best, improved = trial, value, True
                    break
    return chosen


def _objective(values: np.ndarray, energy: np.ndarray, sample: WeightSample) -> float:
    """Weighted relative error with a searched scale per group, plus the mean energy of the words."""
    error, codes = relative_error(values, sample)
    return float(error + energy[codes].mean())


def _check(
    admissible: np.ndarray,
    name: str,
    point: OperatingPoint,
    slack_s: np.ndarray,
    size: int,
    energy_j: np.ndarray | None,
    weight: float,
) -> None:
    if admissible.size == 0 or np.any(np.diff(admissible) <= 0) or 0 not in admissible:
        raise InputError(f"admissible values of {name} must be ascending with 0 among them, not {admissible.tolist()}")
    if admissible.size == 1:
        raise InfeasibleError(
            f"admissible values of {name} must hold one other than 0: at {point.frequency_hz:.4g} Hz and "
            f"{point.voltage_v:g} V no other "
            "weight meets timing; choose a lower frequency, a higher voltage or a smaller margin"
        )
    if slack_s.shape != admissible.shape or (energy_j is not None and energy_j.shape != admissible.shape):
        raise InputError(f"slack and energy of {name} must be given for each of {admissible.size} admissible values")
    if slack_s.min() < 0:
        raise InputError(f"slack of {name} must be at least 0 for every admissible value, not {slack_s.min():.3g} s")
    if not 2 <= size <= 256:
        raise InputError(f"size of {name} must be within 2..256 words, not {size}")
    if not weight >= 0:
        raise InputError(f"energy_weight of {name} must be at least 0, not {weight}")
