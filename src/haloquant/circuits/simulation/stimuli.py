"""Which transitions a MAC is simulated over, and how probable each is.

A transition of `b` activation bits has the index sum over bits i of (a0_i + 2 a1_i) 4**i, a0 the bits before and a1
after, so that what concerns only some of the bits is found by picking their base-4 digits. Two independent operands
follow one another (a systolic array streams another token every cycle), so the default is every pair, all equally
probable.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int16, Int32, Int64

from haloquant.circuits.simulation.partial_sums import PartialSums, draw_partial_sums
from haloquant.errors import InputError


@dataclass(frozen=True, eq=False, slots=True)
class Stimuli:
    """Lanes to simulate: the activation transition of each, its partial sums, and its chance by distribution.

    `chance` has one row per name in `names`, each of sum 1. The first row is the one percentiles are taken over.
    """

    activation_bits: int
    pair: Int32[np.ndarray, " lane"]  # index of the activation transition
    chance: Float64[np.ndarray, "d lane"]
    names: tuple[str, ...]
    partial_before: Int64[np.ndarray, " lane"] | None = None
    partial_after: Int64[np.ndarray, " lane"] | None = None


def pair_index(before: Int16[np.ndarray, " n"], after: Int16[np.ndarray, " n"], bits: int) -> Int32[np.ndarray, " n"]:
    """Return the index of the transitions from activation `before` to `after` (two's complement, `bits` wide)."""
    index = np.zeros(before.shape, np.int32)
    for bit in range(bits):
        digit = (before >> bit & 1) + 2 * (after >> bit & 1)
        index |= digit.astype(np.int32) << (2 * bit)
    return index


def all_pairs(bits: int) -> tuple[Int16[np.ndarray, " n"], Int16[np.ndarray, " n"]]:
    """Return activation before and after of every transition, in the order of their index: 4**bits of each."""
    index = np.arange(4**bits)
    before = np.zeros(index.size, np.int64)
    after = np.zeros(index.size, np.int64)
    for bit in range(bits):
        before |= (index >> (2 * bit) & 1) << bit
        after |= (index >> (2 * bit + 1) & 1) << bit
    sign = 1 << (bits - 1)
    return ((before ^ sign) - sign).astype(np.int16), ((after ^ sign) - sign).astype(np.int16)


def gaussian_activations(bits: int, deviation: float) -> Float64[np.ndarray, " n"]:
    """Chance of every activation transition where both are rounded Gaussians, independent and cut off at the range.

    Args:
        bits: activation bits.
        deviation: standard deviation, in steps of the integer grid.
    """
    before, after = all_pairs(bits)
    chance = np.exp(-0.5 * (before / deviation) ** 2 - 0.5 * (after / deviation) ** 2)
    return chance / chance.sum()


def activation_stimuli(bits: int = 8, **distributions: Float64[np.ndarray, " n"]) -> Stimuli:
    """Every activation transition once, with no partial sum.

    Args:
        bits: activation bits.
        distributions: further distributions by name, each a chance for every transition in the order of `all_pairs`
            (a histogram will do; it is divided by its sum). The first is always `uniform`.

    Raises:
        InputError: a distribution of the wrong length, with negative entries, or of sum 0.
    """
    count = 4**bits
    rows = [np.full(count, 1.0 / count)]
    for name, chance in distributions.items():
        rows.append(_normalised(name, chance, count))
    return Stimuli(bits, np.arange(count, dtype=np.int32), np.stack(rows), ("uniform", *distributions))


def observed_pairs(activations: Int16[np.ndarray, "token feature"], bits: int = 8) -> Float64[np.ndarray, " n"]:
    """Chance of every activation transition in quantized activations of a real layer.

    In a weight-stationary array a row sees one input feature, token after token: the transitions counted are those from
    one token to the next of the same feature.
    """
    pairs = pair_index(activations[:-1].ravel(), activations[1:].ravel(), bits)
    counts = np.bincount(pairs, minlength=4**bits).astype(np.float64)
    return counts / counts.sum()


def with_partial_sums(
    stimuli: Stimuli,
    values: Int64[np.ndarray, " v"],
    histogram: Float64[np.ndarray, " v"],
    lanes: int,
    seed: int,
) -> Stimuli:
    """Draw lanes that have a partial sum before and after, independently, from a histogram.

    The activation transitions are drawn evenly, without replacement while they last; the chance of a lane is in
    proportion to that of its transition, so every distribution keeps its means (up to the error of the draw).

    Args:
        stimuli: the activation transitions.
        values: the partial sums that the histogram counts.
        histogram: how often each occurs.
        lanes: how many to draw.
        seed: of the draw.

    Raises:
        InputError: a histogram with negative entries or of sum 0.
    """
    chance = _normalised("the partial-sum histogram", histogram, values.size)
    generator = np.random.default_rng(seed)
    drawn = _draw(stimuli, lanes, generator)
    before, after = (generator.choice(values, size=lanes, p=chance) for _ in range(2))
    return replace(drawn, partial_before=before, partial_after=after)


def measured_stimuli(sums: PartialSums, sum_bits: int, lanes: int = 8192, seed: int = 0) -> Stimuli:
    """Draw lanes whose partial sums follow one another as the measured ones do; activation transitions evenly.

    Args:
        sums: the measured ones; their activation bits are the unit's.
        sum_bits: width of the partial sum.
        lanes: how many to draw, at most one for every activation transition.
        seed: of the draw.
    """
    lanes = min(lanes, 4**sums.activation_bits)
    drawn = _draw(activation_stimuli(sums.activation_bits), lanes, np.random.default_rng(seed))
    before, after = draw_partial_sums(sums, lanes, sum_bits, seed + 1)
    return replace(drawn, partial_before=before, partial_after=after)


def _draw(stimuli: Stimuli, lanes: int, generator: np.random.Generator) -> Stimuli:
    """Activation transitions drawn evenly, without replacement while they last."""
    count = stimuli.pair.size
    drawn = np.concatenate([generator.permutation(count) for _ in range(-(-lanes // count))])[:lanes]
    rows = stimuli.chance[:, drawn]
    return Stimuli(stimuli.activation_bits, stimuli.pair[drawn], rows / rows.sum(axis=1, keepdims=True), stimuli.names)


def default_stimuli(activation_bits: int, partial_bits: int) -> Stimuli:
    """What is simulated where nothing is known of the model: every activation transition, or a draw with partial sums.

    The partial sums are those of `gaussian_partial_sums` in an array of 128 rows, for weights and activations that are
    Gaussian with their largest value at four deviations (2**bits / 8 steps, both); 8,192 lanes.
    """
    stimuli = activation_stimuli(activation_bits)
    if not partial_bits:
        return stimuli
    deviation = 2.0**activation_bits / 8
    values, histogram = gaussian_partial_sums(128, deviation, deviation, partial_bits)
    return with_partial_sums(stimuli, values, histogram, lanes=min(8192, 4**activation_bits), seed=0)


def gaussian_partial_sums(
    rows: int, weight_deviation: float, activation_deviation: float, bits: int
) -> tuple[Int64[np.ndarray, " v"], Float64[np.ndarray, " v"]]:
    """Partial sums of a weight-stationary column, as a histogram, without having seen the model.

    The sum of r products of independent zero-mean weights and activations has the variance r sw^2 sa^2; a MAC stands
    with equal chance in any of the array's `rows` rows and gets the sum of the r = 0 .. rows-1 rows above it, so the
    histogram is the mean of those Gaussians (central limit theorem; r = 0 gives 0), cut off at the range of `bits`.

    Returns:
        4,097 values, 0 among them, and the chance of each.
    """
    unit = weight_deviation * activation_deviation
    limit = min(5.0 * unit * np.sqrt(max(rows - 1, 1)), float((1 << (bits - 1)) - 1))
    values = np.unique(np.round(np.linspace(-limit, limit, 4097)).astype(np.int64))
    chance = np.zeros(values.size)
    chance[np.searchsorted(values, 0)] = 1.0
    for above in range(1, rows):
        density = np.exp(-0.5 * (values / (unit * np.sqrt(above))) ** 2)
        chance += density / density.sum()
    return values, chance / rows


def _normalised(name: str, chance: Float64[np.ndarray, " n"], count: int) -> Float64[np.ndarray, " n"]:
    if chance.shape != (count,):
        raise InputError(f"{name} must have {count} entries, not {chance.size}")
    if not np.all(chance >= 0) or not chance.sum() > 0:
        raise InputError(f"{name} must be counts or chances of at least 0, not all 0")
    return chance / chance.sum()
