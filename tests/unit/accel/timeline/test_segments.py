"""A table of groups is the sequence of its segments."""

import numpy as np

from haloquant.accel.results import Segment
from haloquant.accel.timeline.segments import GroupTimes, PlacedGroup, SegmentTable
from support.accel_cases import BASE, TOP


def _times() -> GroupTimes:
    """Two steps of 1 s and 2 s with a transition of 0.5 s between them; the first layer runs in both."""
    integers = {"cycles": [100, 200], "tiles": [4, 5], "transitions": [0, 1], "level": [0, 1], "bound": [0, 1]}
    seconds = {
        "begin_s": [0.0, 1.0], "transition_s": [0.0, 0.5], "fill_s": [0.0, 0.0], "compute_s": [1.0, 0.25],
        "dram_s": [0.5, 2.0], "sram_s": [0.125, 0.125], "spmv_s": [0.0, 0.0], "busy_s": [1.0, 2.0],
    }  # fmt: skip
    return GroupTimes(
        **{name: np.array(values, np.int64) for name, values in integers.items()},
        **{name: np.array(values) for name, values in seconds.items()},
        runs=np.array([[True, True], [False, True]]),
        duration_s=3.5,
    )


def _table() -> SegmentTable:
    times = _times()
    return SegmentTable((BASE, TOP), 2, (PlacedGroup(7, 0, 1, 0.0, times), PlacedGroup(8, 2, 3, 3.5, times)))


def test_equal_groups_are_placed_at_their_own_start_with_their_own_layers() -> None:
    table = _table()
    assert len(table) == 4 and isinstance(table[0], Segment)
    assert [(s.group, s.start_s, s.end_s, s.layers, s.blocks) for s in table] == [
        (7, 0.0, 1.0, (0,), 1),
        (7, 1.0, 3.5, (0, 1), 1),
        (8, 3.5, 4.5, (2,), 3),
        (8, 4.5, 7.0, (2, 3), 3),
    ]
    last = table[-1]
    assert (last.point, last.bound, last.arrays, last.transitions) == (TOP, "dram", 2, 1)
    assert (last.cycles, last.tiles, last.compute_s, last.dram_s, last.sram_s) == (200, 5, 0.25, 2.0, 0.125)
    assert [s.start_s for s in table[1:3]] == [1.0, 3.5]


def test_tables_are_equal_where_their_segments_are() -> None:
    assert _table() == _table()
    assert _table() != SegmentTable((BASE, TOP), 1, _table().groups)
    assert _table() != tuple(_table())
