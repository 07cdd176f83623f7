"""The transitions over which a MAC is simulated, and the probability of each.

A transition leads from one activation value to the next. Its index is the sum over the bits i of (a0_i + 2 a1_i) 4**i,
where a0 are the bits before and a1 the bits after. So the transitions of a subset of the bits are found by picking
their base-4 digits. A systolic array streams a new token every cycle, so consecutive operands are taken as independent:
the default is every pair of values, all equally probable.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int32, Int64, UInt8

from haloquant.circuits.simulation.partial_sums import PartialSums, draw_partial_sums
from haloquant.errors import InputError

_ALL_BITS = 10  # 4**10 transitions
_DRAWN_BITS = 8


@dataclass(frozen=True, eq=False, slots=True)
class Stimuli:
    """The lanes to simulate. A lane is one activation transition together with its partial sums.

    `probability` has one row for each distribution in `names`; each row sums to 1. Percentiles are taken over the first
    row.
    """

    activation_bits: int
    transition: Int32[np.ndarray, " lane"]  # the 32 bits of the index of each lane's activation transition
    probability: Float64[np.ndarray, "d lane"]
    names: tuple[str, ...]
    partial_before: Int64[np.ndarray, " lane"] | None = None
    partial_after: Int64[np.ndarray, " lane"] | None = None
    edges: UInt8[np.ndarray, "bit lane"] | None = None  # before + 2 after, of ports with more than 63 bits

    def partial_edges(self, bits: int) -> UInt8[np.ndarray, "bit lane"]:
        """Return the level before plus twice the level after, of every bit of the partial sum in every lane."""
        if self.edges is not None or self.partial_before is None or self.partial_after is None:
            return np.zeros((0, self.transition.size), np.uint8) if self.edges is None else self.edges
        places = np.arange(bits)[:, None]
        return ((self.partial_before >> places & 1) + 2 * (self.partial_after >> places & 1)).astype(np.uint8)


def activation_stimuli(bits: int = 8, **distributions: Float64[np.ndarray, " n"]) -> Stimuli:
    """Return stimuli with every activation transition once and no partial sum.

    Of more than 2**20 transitions, 2**16 are drawn instead.

    Args:
        bits: number of activation bits.
        distributions: further distributions by name: probabilities or counts of all 4**bits transitions, in the order
            of their index; each is divided by its sum. The first distribution is always `uniform`.

    Raises:
        InputError: If a distribution has the wrong length, a negative entry, or the sum 0.
    """
    count = 4**bits
    if bits > _ALL_BITS:
        if distributions:
            raise InputError(f"distributions of transitions must be of at most {_ALL_BITS} bits, not {bits}")
        lanes = 4**_DRAWN_BITS
        drawn = np.random.default_rng(0).integers(0, count, lanes).astype(np.uint32).view(np.int32)
        return Stimuli(bits, drawn, np.full((1, lanes), 1.0 / lanes), ("uniform",))
    rows = [np.full(count, 1.0 / count)]
    for name, probability in distributions.items():
        rows.append(_normalized(name, probability, count))
    return Stimuli(bits, np.arange(count, dtype=np.int32), np.stack(rows), ("uniform", *distributions))


def with_partial_sums(
    stimuli: Stimuli,
    values: Int64[np.ndarray, " v"],
    histogram: Float64[np.ndarray, " v"],
    lanes: int,
    seed: int,
) -> Stimuli:
    """Return lanes whose partial sums before and after are drawn independently from a histogram.

    The activation transitions are drawn uniformly, without replacement until all are used. The probability of a lane is
    proportional to the probability of its transition, so each distribution keeps its means up to the error of the draw.

    Args:
        stimuli: the activation transitions.
        values: the partial sums that the histogram counts.
        histogram: how often each value occurs.
        lanes: number of lanes to draw.
        seed: seed of the random generator.

    Raises:
        InputError: If the histogram has a negative entry or the sum 0.
    """
    probability = _normalized("the partial-sum histogram", histogram, values.size)
    generator = np.random.default_rng(seed)
    drawn = _draw(stimuli, lanes, generator)
    before, after = (generator.choice(values, size=lanes, p=probability) for _ in range(2))
    return replace(drawn, partial_before=before, partial_after=after)


def measured_stimuli(sums: PartialSums, sum_bits: int, lanes: int = 8192, seed: int = 0) -> Stimuli:
    """Return lanes with uniformly drawn activation transitions and partial sums drawn from measured statistics.

    Args:
        sums: the measured statistics; their activation width must be the MAC's.
        sum_bits: width of the partial sum.
        lanes: number of lanes to draw, at most one for each activation transition.
        seed: seed of the random generator.
    """
    lanes = min(lanes, 4**sums.activation_bits)
    drawn = _draw(activation_stimuli(sums.activation_bits), lanes, np.random.default_rng(seed))
    before, after = draw_partial_sums(sums, lanes, sum_bits, seed + 1)
    return replace(drawn, partial_before=before, partial_after=after)


def _draw(stimuli: Stimuli, lanes: int, generator: np.random.Generator) -> Stimuli:
    """Draw activation transitions uniformly, without replacement until all are used."""
    count = stimuli.transition.size
    drawn = np.concatenate([generator.permutation(count) for _ in range(-(-lanes // count))])[:lanes]
    rows = stimuli.probability[:, drawn]
    return Stimuli(
        stimuli.activation_bits, stimuli.transition[drawn], rows / rows.sum(axis=1, keepdims=True), stimuli.names
    )


def default_stimuli(activation_bits: int, partial_bits: int) -> Stimuli:
    """Return the stimuli for an unknown model: every activation transition, or 8,192 drawn lanes with partial sums.

    Partial sums come from `gaussian_partial_sums` for an array of 128 rows. Weights and activations are taken as
    Gaussian with the largest value at four standard deviations, so the deviation of both is 2**activation_bits / 8.

    Args:
        activation_bits: width of the activation.
        partial_bits: width of the partial sum; 0 if the MAC has none.
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
    """Return a model of the partial sums in a weight-stationary column, as a histogram.

    The sum of r products of independent zero-mean weights and activations has the variance r sw^2 sa^2. A MAC is with
    equal probability in any of the `rows` rows and receives the sum of the r = 0 .. rows-1 products above it. So the
    histogram is the mean of those Gaussians (central limit theorem; r = 0 gives the value 0), clipped to the range of
    `bits` bits.

    Returns:
        Up to 4,097 values, 0 among them, and the probability of each.
    """
    unit = weight_deviation * activation_deviation
    limit = min(5.0 * unit * np.sqrt(max(rows - 1, 1)), float((1 << (bits - 1)) - 1))
    values = np.unique(np.round(np.linspace(-limit, limit, 4097)).astype(np.int64))
    probability = np.zeros(values.size)
    probability[np.searchsorted(values, 0)] = 1.0
    for above in range(1, rows):
        density = np.exp(-0.5 * (values / (unit * np.sqrt(above))) ** 2)
        probability += density / density.sum()
    return values, probability / rows


def _normalized(name: str, probability: Float64[np.ndarray, " n"], count: int) -> Float64[np.ndarray, " n"]:
    if probability.shape != (count,):
        raise InputError(f"{name} must have {count} entries, not {probability.size}")
    if not np.all(probability >= 0) or not probability.sum() > 0:
        raise InputError(f"{name} must be counts or probabilities of at least 0, not all 0")
    return probability / probability.sum()
