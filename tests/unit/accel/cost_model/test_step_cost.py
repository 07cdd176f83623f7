"""Cost of one step by hand: what is divided among its layer parts adds up to the step."""

from dataclasses import replace

import pytest

from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_steps import Island, LayerPart, Step
from haloquant.accel.cost_model.step_cost import COST_COLUMNS, CostModel, as_time_and_energy, cost_of_step
from support.accel_cases import BASE, toy_target
from support.near import near
from support.one_layer import WORKS

# Six and three tiles of the layer; two transitions from or to 1.2 V; the last of nine tiles leaves after 83 cycles.
PARTS = (LayerPart(0, 6, 2 / 3, 3e-12), LayerPart(0, 3, 1 / 3, 1e-12))
STEP = Step(0, 1, 2, 1.2, (Island(BASE, 0, 1, PARTS),))
IDLE = MemoryTraffic(0.0, 0.0, 0.0, 0.0, 0.0)
BUSY_S = 83 / 1.9e9


@pytest.mark.parametrize("switching", [True, False])
def test_a_step_costs_its_time_its_leakage_and_its_transitions(switching: bool) -> None:
    works = [replace(WORKS[0], nnz=0)]
    found = cost_of_step(STEP, works, [IDLE], CostModel(toy_target(), 1.0, 1e-13, switching), fill_s=3e-7)
    assert found.costs.shape == (2, len(COST_COLUMNS))
    (time, energy), (later, less) = (as_time_and_energy(row) for row in found.costs.tolist())
    assert (found.times.bound, found.times.busy_s) == ("compute", near(BUSY_S))
    for part, seconds in (("compute", BUSY_S), ("fill", 3e-7), ("transition", 200e-9)):
        assert (time[part], later[part]) == (near(seconds * 2 / 3), near(seconds / 3))
    assert time["dram"] == time["sram"] == time["spmv"] == 0
    # 10 mW of the array and 5 mW of the rest while it runs; 12 mW and 5 mW while it switches
    assert energy["leakage"] + less["leakage"] == near(0.015 * (BUSY_S + 3e-7) + 0.017 * 200e-9)
    assert (energy["mac"], less["mac"]) == (near(5 * 3e-12), near(5 * 1e-12))
    # 1 nJ for each transition; the regulator delivers 90 % of what the arrays take
    regulator = (20e-12 + 0.010 * BUSY_S) * (1 / 0.9 - 1) if switching else 0.0
    assert energy["dvfs"] + less["dvfs"] == near(2e-9 + regulator)


def test_an_array_of_more_cycles_for_a_product_takes_more_of_the_cost() -> None:
    """Two layers, one with two cycles for each product: it gets two thirds of the time with as many tiles."""
    works = [replace(WORKS[0], nnz=0), replace(WORKS[0], nnz=0, cycles_per_mac=2.0)]
    parts = (LayerPart(0, 3, 1.0, 1e-12), LayerPart(1, 3, 1.0, 1e-12))
    step = Step(0, 1, 0, 0.0, (Island(BASE, 0, 1, parts),))
    found = cost_of_step(step, works, [IDLE, IDLE], CostModel(toy_target(), 1.0, 1e-13, False), 0.0)
    first, second = (as_time_and_energy(row)[0]["compute"] for row in found.costs.tolist())
    assert second == near(2 * first)
    assert first + second == near(found.times.busy_s)
