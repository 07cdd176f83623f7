"""Axes in pixels, and names that keep clear of dots, of each other and of the edge."""

import pytest

from haloquant.report.charts.labels import Span, place_labels
from support.near import near


@pytest.mark.parametrize("log", [False, True])
def test_an_axis_goes_there_and_back(log: bool) -> None:
    span = Span(2.0, 32.0, 400.0, log)
    assert (span.pixel(2.0), span.pixel(32.0)) == (0.0, near(400.0))
    for value in (2.0, 3.0, 8.0, 32.0):
        assert span.value(span.pixel(value)) == near(value)


def test_the_middle_of_an_axis_is_the_mean_of_its_ends() -> None:
    """The arithmetic mean of 2 and 32 is 17, the geometric mean 8."""
    assert Span(2.0, 32.0, 400.0).value(200.0) == near(17.0)
    assert Span(2.0, 32.0, 400.0, log=True).value(200.0) == near(8.0)


def test_a_lone_name_stands_right_of_its_dot_and_left_of_one_at_the_edge() -> None:
    (right,) = place_labels(["name"], [(100.0, 50.0)], 400.0, 100.0)
    assert right[0] > 100 and right[1] == 50
    ((x, y),) = place_labels(["name"], [(395.0, 50.0)], 400.0, 100.0)
    assert x + 5.8 * 4 < 395 and y == 50


def test_two_names_of_one_place_do_not_cover_each_other() -> None:
    first, second = place_labels(["one", "two"], [(100.0, 50.0), (100.0, 50.0)], 400.0, 100.0)
    apart_x, apart_y = abs(first[0] - second[0]), abs(first[1] - second[1])
    assert apart_x >= 5.8 * 3 or apart_y >= 12
