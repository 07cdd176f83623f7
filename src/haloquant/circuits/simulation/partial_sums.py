"""Partial sums as they come to a MAC: where they were measured, how they are spread, and how one follows another.

A MAC in row r of a weight-stationary column gets the sum of the r products above it, token after token. Two things of
that stream are kept: the spread of one value (quantiles), and how the ranks of two that follow one another go together
(a grid of chances; without it they are drawn independently). Drawing picks a cell of the grid, a rank evenly within it
for each of the two, and reads the quantiles at those ranks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from haloquant.errors import InputError


@dataclass(frozen=True, eq=False, slots=True)
class PartialSums:
    """Statistics of the partial sums that a MAC of these operand widths is given.

    `quantile[i]` is the value at rank i / (q - 1), ascending. `joint[i, j]` is the chance that the first of two that
    follow one another has a rank in the i-th of k equal parts and the second in the j-th.
    """

    source: str  # for people: whose, how many, how measured
    weight_bits: int
    activation_bits: int
    quantile: Int64[np.ndarray, " q"]
    joint: Float64[np.ndarray, "k k"]

    def __post_init__(self) -> None:
        """Check what drawing relies on.

        Raises:
            InputError: quantiles that fall or are fewer than two, or chances that are negative or all zero.
        """
        if self.quantile.size < 2 or (np.diff(self.quantile) < 0).any():
            raise InputError("the quantiles of partial sums must be two or more whole numbers, ascending")
        if not np.isfinite(self.joint).all() or (self.joint < 0).any() or not self.joint.sum() > 0:
            raise InputError("the joint chances of partial sums must be at least 0 and not all 0")


def draw_partial_sums(
    sums: PartialSums, lanes: int, bits: int, seed: int
) -> tuple[Int64[np.ndarray, " lane"], Int64[np.ndarray, " lane"]]:
    """Draw what stands at the partial-sum input before and after an edge, cut off at the range of `bits`.

    Returns:
        Before and after, one of each for every lane.
    """
    generator = np.random.default_rng(seed)
    parts = sums.joint.shape[0]
    chance = sums.joint.ravel() / sums.joint.sum()
    cells = np.stack(np.divmod(generator.choice(chance.size, lanes, p=chance), parts))
    rank = (cells + generator.random((2, lanes))) / parts
    values = np.interp(rank, np.linspace(0.0, 1.0, sums.quantile.size), sums.quantile.astype(np.float64))
    limit = (1 << (bits - 1)) - 1
    before, after = np.clip(np.round(values).astype(np.int64), -limit, limit)
    return before, after


def measured_partial_sums(
    before: Int64[np.ndarray, " n"],
    after: Int64[np.ndarray, " n"],
    *,
    weight_bits: int,
    activation_bits: int,
    source: str,
    quantiles: int = 257,
    parts: int = 16,
) -> PartialSums:
    """Summarise observed pairs of partial sums that follow one another.

    Ranks of equal values (many partial sums are 0) are shared out evenly, in the order they come.

    Args:
        before: the first of each pair.
        after: the second.
        weight_bits: of the codes whose products were added.
        activation_bits: of the codes whose products were added.
        source: for people.
        quantiles: how many to keep.
        parts: rows and columns of the grid of ranks.
    """
    both = np.concatenate([before, after])
    quantile = np.quantile(both, np.linspace(0.0, 1.0, quantiles), method="nearest")
    rank = np.empty(both.size, np.int64)
    rank[np.argsort(both, kind="stable")] = np.arange(both.size)
    cell = rank * parts // both.size
    joint = np.zeros((parts, parts))
    np.add.at(joint, (cell[: before.size], cell[before.size :]), 1.0)
    return PartialSums(source, weight_bits, activation_bits, quantile, joint / joint.sum())
