"""The bounds of one step by hand: arrays, DRAM, on-chip memory and sparse engine."""

from dataclasses import replace

import pytest

from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_steps import Island, LayerPart, Step
from haloquant.accel.cost_model.time_bounds import island_cycles, step_time
from support.accel_cases import BASE, toy_target
from support.near import near
from support.one_layer import WORKS

STEP = Step(0, 1, 0, 0.0, (Island(BASE, 0, 1, (LayerPart(0, 9, 1.0, 0.0),)),))


def _traffic(dram: float = 0.0, sram_read: float = 0.0, sram_write: float = 0.0) -> MemoryTraffic:
    return MemoryTraffic(dram, sram_read, sram_write, 0.0, 0.0)


@pytest.mark.parametrize(
    ("traffic", "sparse", "bound", "busy_s"),
    [
        # nine tiles with a shadow register: eight of max(5, 8) cycles, then 5 rows and a drain of 14
        (_traffic(), 0, "compute", (8 * 8 + 5 + 14) / 1.9e9),
        (_traffic(dram=9000.0), 0, "dram", 9000 / 18e9),
        (_traffic(sram_read=30e3, sram_write=20e3), 0, "sram", 50_000 / 200e9),
        (_traffic(), 1000, "spmv", 1000 * 5 / (4 * 1.9e9)),
    ],
)
def test_the_longest_bound_is_the_time(traffic: MemoryTraffic, sparse: int, bound: str, busy_s: float) -> None:
    times = step_time(STEP, [replace(WORKS[0], nnz=sparse)], [traffic], toy_target())
    assert (times.bound, times.busy_s) == (bound, near(busy_s))
    assert times.island_cycles == (83,)


def test_two_arrays_share_the_tiles_and_blocks_of_rows_repeat_them() -> None:
    island = Island(BASE, 0, 2, STEP.parts)
    # five tiles on the fuller array: four of 8 cycles, then the rows and the drain
    assert island_cycles(island, WORKS, 1, toy_target()) == 4 * 8 + 5 + 14
    # blocks of 3 and 2 rows
    assert island_cycles(island, WORKS, 2, toy_target()) == (4 * 8 + 3 + 14) + (4 * 8 + 2 + 14)
    assert island_cycles(Island(BASE, 0, 2, ()), WORKS, 1, toy_target()) == 0
