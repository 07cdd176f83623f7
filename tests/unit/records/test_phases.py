"""A table of phases and the records that it stands for."""

import numpy as np

from haloquant.records import OperatingPoint, Phase
from haloquant.records.phases import GroupOrder, OrderedGroup, PhaseTable, used_points

SLOW, FAST, UNUSED = OperatingPoint(0.9, 1e9), OperatingPoint(1.1, 3e9), OperatingPoint(1.2, 4e9)
# Two phases: the first runs tile (0, 1) of layer 0 and the whole of layer 1, the second the other tiles of layer 0.
ORDER = GroupOrder(np.array([1, 0]), (np.array([[1, 0], [1, 1]], np.int32), None), (-1, 0))
TABLE = PhaseTable((SLOW, FAST, UNUSED), (OrderedGroup(0, 0, ORDER), OrderedGroup(1, 2, ORDER)))


def test_phases_by_hand() -> None:
    assert len(TABLE) == 4
    first, second, third, _ = TABLE
    assert (first.group, first.point, first.whole) == (0, FAST, (1,))
    assert first.tiles.tolist() == [[0, 0, 1]]
    assert (second.point, second.whole) == (SLOW, ())
    assert second.tiles.tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert (third.group, third.whole) == (1, (3,))
    assert third.tiles.tolist() == [[2, 0, 1]]


def test_used_points_in_order_of_first_use() -> None:
    assert used_points(TABLE) == (FAST, SLOW)
    assert used_points([Phase(0, SLOW, ()), Phase(0, FAST, ()), Phase(1, SLOW, ())]) == (SLOW, FAST)
