"""Which designs no other beats, by hand."""

from haloquant.jobs.codesign.front import not_beaten


def test_points_that_no_other_beats() -> None:
    points = [(1, 5), (2, 4), (2, 5), (3, 3), (3, 4), (1, 5)]
    assert not_beaten(points, lambda point: point) == [(1, 5), (2, 4), (3, 3), (1, 5)]
    assert not_beaten([], lambda point: point) == []
