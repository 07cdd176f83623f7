"""Counts of stored bits."""

from haloquant.records import BitCount


def test_counts_add_and_are_divided_by_the_weights() -> None:
    both = BitCount(10, 40, 16) + BitCount(10, 30, 0, 5, 8, 1)
    assert both == BitCount(20, 70, 16, 5, 8, 1)
    assert both.total == 100
    assert both.per_weight == 5
