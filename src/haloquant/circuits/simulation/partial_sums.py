"""Statistics of the partial sums that a MAC receives, and random draws from them.

In a weight-stationary column the MAC in row r receives the sum of the r products above it, one sum per token. Two
statistics of that stream are kept: the quantiles of one value, and the joint distribution of the ranks of two
consecutive values, as a k x k grid of probabilities. A 1 x 1 grid makes consecutive values independent. A draw picks a
cell of the grid, then one uniform rank inside the cell for each of the two values, and reads the quantiles at the two
ranks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from haloquant.errors import InputError


@dataclass(frozen=True, eq=False, slots=True)
class PartialSums:
    """Statistics of the partial sums of a MAC with these operand widths.

    `quantile[i]` is the value at rank i / (q - 1), ascending. `joint[i, j]` is the probability that of two consecutive
    values the first has its rank in the i-th of k equal parts and the second in the j-th.
    """

    source: str  # a description: which model, how many sums, how they were measured
    weight_bits: int
    activation_bits: int
    quantile: Int64[np.ndarray, " q"]
    joint: Float64[np.ndarray, "k k"]

    def __post_init__(self) -> None:
        """Check the quantiles and the probabilities.

        Raises:
            InputError: If there are fewer than two quantiles, they do not ascend, or a probability is negative, not
                finite, or all are zero.
        """
        if self.quantile.size < 2 or (np.diff(self.quantile) < 0).any():
            raise InputError("partial sums must have two or more quantiles, whole numbers in ascending order")
        if not np.isfinite(self.joint).all() or (self.joint < 0).any() or not self.joint.sum() > 0:
            raise InputError("the joint probabilities of partial sums must be at least 0 and not all 0")


def draw_partial_sums(
    sums: PartialSums, lanes: int, bits: int, seed: int
) -> tuple[Int64[np.ndarray, " lane"], Int64[np.ndarray, " lane"]]:
    """Draw the partial sum before and after a transition, clipped to the range of `bits` bits.

    Args:
        sums: the statistics.
        lanes: how many pairs to draw.
        bits: width of the partial-sum input.
        seed: seed of the random generator.

    Returns:
        The values before and the values after, one of each per lane.
    """
    generator = np.random.default_rng(seed)
    parts = sums.joint.shape[0]
    probability = sums.joint.ravel() / sums.joint.sum()
    cells = np.stack(np.divmod(generator.choice(probability.size, lanes, p=probability), parts))
    rank = (cells + generator.random((2, lanes))) / parts
    values = np.interp(rank, np.linspace(0.0, 1.0, sums.quantile.size), sums.quantile.astype(np.float64))
    limit = (1 << (bits - 1)) - 1
    before, after = np.clip(np.round(values).astype(np.int64), -limit, limit)
    return before, after


def summarize_partial_sums(
    before: Int64[np.ndarray, " n"],
    after: Int64[np.ndarray, " n"],
    *,
    weight_bits: int,
    activation_bits: int,
    source: str,
    quantiles: int = 257,
    parts: int = 16,
) -> PartialSums:
    """Summarize observed pairs of consecutive partial sums.

    Equal values (many partial sums are 0) get different ranks, in the order of the input.

    Args:
        before: the first value of each pair.
        after: the second value of each pair.
        weight_bits: width of the weight codes whose products were added.
        activation_bits: width of the activation codes whose products were added.
        source: a description: which model, how many sums, how they were measured.
        quantiles: number of quantiles to keep.
        parts: number of rows and of columns of the grid of ranks.

    Returns:
        The statistics; the probabilities sum to 1.
    """
    both = np.concatenate([before, after])
    quantile = np.quantile(both, np.linspace(0.0, 1.0, quantiles), method="nearest")
    rank = np.empty(both.size, np.int64)
    rank[np.argsort(both, kind="stable")] = np.arange(both.size)
    cell = rank * parts // both.size
    joint = np.zeros((parts, parts))
    np.add.at(joint, (cell[: before.size], cell[before.size :]), 1.0)
    return PartialSums(source, weight_bits, activation_bits, quantile, joint / joint.sum())
