"""Phases cut into steps, and the transitions into them."""

import numpy as np

from haloquant.accel.cost_model.schedule_coverage import FlatTileRun
from haloquant.accel.cost_model.schedule_steps import steps_of
from haloquant.records import Phase
from support.accel_cases import BASE, TOP
from support.one_layer import WORKS

PHASES = [
    (Phase(0, point, ()), (FlatTileRun(0, np.arange(first, first + 3)),))
    for point, first in ((BASE, 0), (BASE, 3), (TOP, 6))
]


def test_neighbours_at_one_point_are_one_step() -> None:
    first, second = steps_of(PHASES, {}, WORKS, 2)
    assert [part.folds for part in (*first.parts, *second.parts)] == [6, 3]
    assert (first.transitions, second.transitions) == (0, 1)
    assert second.transition_v == max(BASE.voltage_v, TOP.voltage_v)
    assert second.islands[0].arrays == 2


def test_blocks_of_rows_cross_a_change_once_per_block() -> None:
    assert [step.transitions for step in steps_of(PHASES, {0: 4}, WORKS, 2)] == [0, 4]
