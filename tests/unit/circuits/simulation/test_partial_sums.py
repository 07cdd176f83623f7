"""Partial sums that were measured: summarized, drawn, kept in a file, and chosen for a MAC."""

import numpy as np
import pytest

from haloquant.circuits.simulation.partial_sums import PartialSums, draw_partial_sums, summarize_partial_sums
from haloquant.errors import InputError


def correlated(count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that follow one another with a correlation of 0.8, an eighth of them 0."""
    rng = np.random.default_rng(3)
    first = rng.normal(size=count)
    second = 0.8 * first + 0.6 * rng.normal(size=count)
    still = rng.random(count) < 1 / 8
    before, after = (np.where(still, 0, np.round(1000 * x)).astype(np.int64) for x in (first, second))
    return before, after


def test_what_is_drawn_is_spread_and_follows_as_what_was_seen() -> None:
    before, after = correlated()
    sums = summarize_partial_sums(before, after, weight_bits=8, activation_bits=8, source="a test")
    one, two = draw_partial_sums(sums, 40_000, 24, seed=1)
    np.testing.assert_allclose(np.std(one), np.std(before), rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(one, two)[0, 1], np.corrcoef(before, after)[0, 1], atol=0.06)  # a grid blurs
    changed = [np.bitwise_count((a ^ b) & 0xFFFFFF).mean() for a, b in ((before, after), (one, two))]
    np.testing.assert_allclose(changed[1], changed[0], rtol=0.12)  # zeros keep their share, but pair up less often
    np.testing.assert_allclose((one == 0).mean(), (before == 0).mean(), atol=0.02)
    np.testing.assert_array_equal(one, draw_partial_sums(sums, 40_000, 24, seed=1)[0])


def test_one_cell_of_chances_draws_independently_and_a_narrow_port_cuts_off() -> None:
    sums = PartialSums("a test", 8, 8, np.array([-1000, 0, 1000]), np.ones((1, 1)))
    one, two = draw_partial_sums(sums, 20_000, 8, seed=0)
    assert (one.min(), one.max()) == (-127, 127)
    wide = draw_partial_sums(sums, 20_000, 24, seed=0)
    assert abs(np.corrcoef(*wide)[0, 1]) < 0.02
    np.testing.assert_allclose(np.std(wide[0]), 1000 / np.sqrt(3), rtol=0.02)
    assert two.size == 20_000


def test_statistics_that_cannot_be() -> None:
    with pytest.raises(
        InputError, match=r"^partial sums must have two or more quantiles, whole numbers in ascending order$"
    ):
        PartialSums("", 8, 8, np.array([1, 0]), np.ones((1, 1)))
    with pytest.raises(InputError, match=r"^the joint probabilities of partial sums must be at least 0 and not all 0$"):
        PartialSums("", 8, 8, np.array([0, 1]), np.zeros((1, 1)))
