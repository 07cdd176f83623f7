"""A pass of two steps by hand: start, cycles, transitions; layers that cost the same."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.phase_cost import cost_of_phases, layer_kinds, startup_latency
from haloquant.accel.cost_model.schedule_coverage import FlatTileRun
from haloquant.accel.cost_model.step_cost import CostModel, as_time_and_energy
from haloquant.records import Phase
from support.accel_cases import BASE, TOP, toy_target
from support.near import near
from support.one_layer import WORKS

IDLE = MemoryTraffic(0.0, 0.0, 0.0, 0.0, 0.0)
BARE = [replace(WORKS[0], nnz=0, weight_bytes=1800.0)]
# Six tiles at the base point in two phases, then three at the top point.
PHASES = [
    (Phase(0, point, ()), (FlatTileRun(0, np.arange(first, first + 3)),))
    for point, first in ((BASE, 0), (BASE, 3), (TOP, 6))
]


@pytest.mark.parametrize(("load", "cycles"), [(WeightLoad.DOUBLE, 8), (WeightLoad.SINGLE, 0), (WeightLoad.NONE, 0)])
def test_the_first_tile_waits_for_dram_and_for_its_weights(load: WeightLoad, cycles: int) -> None:
    """50 ns, then a ninth of 1800 bytes at 90 % of 20 GB/s, then eight rows of weights into a shadow register."""
    target = toy_target()
    target = replace(target, array=replace(target.array, weight_load=load))
    found = startup_latency(BARE[0], 2e9, target)
    assert found == (cycles, near(50e-9 + 200 / 18e9 + cycles / 2e9))


def test_steps_follow_each_other_and_their_costs_add_up() -> None:
    """A run of n tiles streams 8 (n - 1) + 5 rows and drains for 14 cycles."""
    found = cost_of_phases(PHASES, {}, BARE, [IDLE], CostModel(toy_target(), 1.0, 1e-13, True))
    first, second = found.segments
    assert (first.cycles, second.cycles, found.cycles) == (8 + 59, 35, 102)
    assert (first.transitions, second.transitions, found.transitions) == (0, 1, 1)
    assert (first.tiles, second.tiles, first.layers, second.point) == (6, 3, (0,), TOP)
    fill_s = startup_latency(BARE[0], BASE.frequency_hz, toy_target())[1]
    assert first.start_s == 0 and first.end_s == near(fill_s + 59 / BASE.frequency_hz)
    assert second.start_s == first.end_s
    assert second.end_s == near(first.end_s + 100e-9 + 35 / TOP.frequency_hz)
    time, _ = as_time_and_energy(found.costs[0].tolist())
    assert sum(time.values()) == near(second.end_s)


def test_layers_of_equal_work_and_traffic_have_one_kind() -> None:
    works = [BARE[0], replace(BARE[0], nnz=7), replace(BARE[0], tile_j=None), BARE[0]]
    busy = replace(IDLE, dram=1.0)
    assert layer_kinds(works, [IDLE, IDLE, IDLE, busy]) == [0, 1, 0, 2]
