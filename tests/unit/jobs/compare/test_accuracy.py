"""The error of a difference of two perplexities, against figures worked out by hand."""

import math

import pytest

from haloquant.jobs.compare.accuracy import Accuracy, rise_error
from haloquant.report.results import MethodRow
from haloquant.report.tables import _with_error


def scored(perplexity: float, *nats: float) -> Accuracy:
    return Accuracy(perplexity, None, 100, "", nats)


def test_windows_that_are_hard_for_both_do_not_widen_the_error() -> None:
    reference, mine = scored(20.0, 1.0, 5.0, 3.0), scored(21.0, 1.1, 5.0, 3.2)
    # Differences 0.1, 0, 0.2: mean 0.1, deviation 0.1 with two degrees of freedom; 20 x 0.1 / sqrt(3).
    assert rise_error(mine, reference) == pytest.approx(2.0 / math.sqrt(3.0))


def test_without_windows_to_compare_there_is_no_error() -> None:
    assert rise_error(scored(21.0, 1.0), scored(20.0, 1.0)) is None
    assert rise_error(scored(21.0, 1.0, 2.0), scored(20.0, 1.0, 2.0, 3.0)) is None


def test_the_table_prints_it_beside_the_perplexity() -> None:
    row = MethodRow("halo-bal", "halo", 3.7, 41.6051, 41.66, [], rise_error=0.1532)
    assert _with_error(row) == "41.605 ±0.15"
