"""Energy of one layer's part of a step, and leakage of a chip, by hand."""

from dataclasses import replace

import pytest

from haloquant.accel.cost_model.energy import leakage_w, switching_energy_j
from haloquant.accel.cost_model.memory_traffic import MemoryTraffic
from haloquant.accel.cost_model.schedule_steps import Island, LayerPart, Step
from support.accel_cases import BASE, TOP, toy_target
from support.near import near
from support.one_layer import WORKS

PART = LayerPart(layer=0, folds=4, share=0.5, tile_j=2e-12)
TRAFFIC = MemoryTraffic(dram=1000.0, sram_read=200.0, sram_write=100.0, accumulator_read=400.0, accumulator_write=300.0)


@pytest.mark.parametrize(("corner_v", "mac", "spmv"), [(1.0, 1.44, 1.0), (0.8, 2.25, 1.5625)])
def test_energies_scale_with_the_square_of_their_own_supply(corner_v: float, mac: float, spmv: float) -> None:
    """The arrays run at 1.2 V, the sparse engine at 1.0 V; 5 rows, 10 sparse weights, half of the layer's bytes."""
    works = [replace(WORKS[0], nnz=10)]
    found = switching_energy_j(PART, Island(TOP, 0, 1, (PART,)), works, [TRAFFIC], toy_target(), corner_v, 1e-13)
    picojoules = {name: value * 1e12 for name, value in found.items()}
    assert picojoules == {
        "mac": near(5 * 2 * mac),
        "spmv": near(0.5 * 10 * 5 * 0.1 * spmv),
        "sram": near(0.5 * 8 * (200 * 0.25 + 100 * 0.3)),
        "accumulator": near(0.5 * 8 * (400 * 0.2 + 300 * 0.3) * 1.2**2),
        "dram": near(0.5 * 8 * 1000 * 4),
    }


def test_arrays_that_a_step_leaves_out_leak_at_the_base_supply() -> None:
    """10 mW for each array at 1 V, 5 mW for the rest: one array at 1.2 V and one that is idle."""
    step = Step(0, 1, 0, 0.0, (Island(TOP, 0, 1, (PART,)),))
    assert leakage_w(step, toy_target(count=2)) == near(0.012 + 0.010 + 0.005)
    both = Step(0, 1, 0, 0.0, (Island(TOP, 0, 1, (PART,)), Island(BASE, 1, 1, (PART,))))
    assert leakage_w(both, toy_target(count=2)) == near(0.012 + 0.010 + 0.005)
    assert leakage_w(step, toy_target(count=1)) == near(0.012 + 0.005)
