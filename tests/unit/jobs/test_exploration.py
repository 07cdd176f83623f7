"""The Pareto front of a search: which points another one beats."""

from typing import Any

import msgspec

from haloquant.jobs.exploration import mark_best, mark_knees
from haloquant.report.charts.exploration import Point


def _point(name: str, perplexity: float, time_s: float, energy_j: float, **other: Any) -> Point:
    point = Point(name, 128, "bal", "edge", "decode", 0.5, 4.0, perplexity, time_s, energy_j, 1.5, 1e-9)
    return msgspec.structs.replace(point, **other)


def test_a_point_is_best_unless_another_is_as_good_in_all_and_better_in_one() -> None:
    points = [
        _point("good", 5.0, 2.0, 2.0),
        _point("fast", 6.0, 1.0, 2.0),
        _point("frugal", 6.0, 3.0, 1.0),
        _point("beaten in one", 5.0, 2.0, 2.5),
        _point("beaten in all", 7.0, 4.0, 4.0),
        _point("twin", 5.0, 2.0, 2.0),
    ]
    marked = {point.profile: point.best for point in mark_best(points)}
    best = {"good", "fast", "frugal", "twin"}
    assert marked == {point.profile: point.profile in best for point in points}


def test_fronts_of_other_machines_and_phases_are_their_own() -> None:
    points = [
        _point("a", 5.0, 1.0, 1.0),
        _point("b", 6.0, 2.0, 2.0, phase="prefill"),
        _point("c", 6.0, 2.0, 2.0, target="other"),
    ]
    assert all(point.best for point in mark_best(points))
    assert [point.profile for point in mark_best(points)] == ["a", "b", "c"]


def test_the_knee_is_the_point_farthest_below_the_line_from_the_fastest_to_the_most_accurate() -> None:
    curve = {1.0: 9.0, 1.2: 6.2, 1.6: 5.6, 2.0: 5.0}
    points = [_point("mac", perplexity, time_s, 1.0) for time_s, perplexity in curve.items()]
    beaten = _point("mac", 8.0, 1.3, 1.0, goal="slower than a better one")
    alone = [_point("mac", 5.0, 1.0, 1.0, tile=64), _point("mac", 4.0, 2.0, 1.0, tile=64)]
    marked = mark_knees([*points, beaten, *alone])
    assert [point.time_s for point in marked if point.knee] == [1.2]
    assert [msgspec.structs.replace(point, knee=False) for point in marked] == [*points, beaten, *alone]
