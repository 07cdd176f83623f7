"""Operating points of classes, arrays of a tile's size, and the order with the lowest cost."""

from dataclasses import replace

import pytest

from haloquant.accel.workload.prefill_decode import prefill
from haloquant.jobs.machines.method_cost import (
    POLICIES,
    best_pass,
    class_points,
    delays_on_target,
    pass_energy_j,
    pass_time_s,
    single_class_point,
    with_tile_size,
)
from haloquant.jobs.machines.systems import halo_system
from haloquant.records import OperatingPoint
from haloquant.store.targets import read_systolic
from support.machine_models import LOADED, SHAPE
from support.near import near

EDGE, PAPER = read_systolic("edge_lpddr5x"), read_systolic("paper_tpu")


def test_classes_run_at_the_ratio_of_their_macs_delays() -> None:
    """The classes of the made-up multiplier run at 3.7, 2.4 and 1.9 GHz; its slowest value takes 1.9 GHz."""
    points = class_points(EDGE, LOADED.classes)
    base = EDGE.base
    assert [p.voltage_v for p in points] == [base.voltage_v] * 3
    assert [p.frequency_hz / base.frequency_hz for p in points] == near([3.7 / 1.9, 2.4 / 1.9, 1.0], rel=1e-4)
    assert single_class_point(EDGE, 1.25) == (OperatingPoint(base.voltage_v, 1.25 * base.frequency_hz),)
    slowest = delays_on_target(LOADED.classes, EDGE).max()
    assert slowest == near(base.period_s)


def test_claimed_clocks_go_to_the_classes_in_order_and_not_to_other_methods() -> None:
    points = class_points(PAPER, LOADED.classes)
    assert [p.frequency_hz for p in points] == sorted((p.frequency_hz for p in PAPER.points), reverse=True)
    assert single_class_point(PAPER, 1.9) == (PAPER.base,)


def test_arrays_of_another_tile_keep_the_multipliers_and_the_totals() -> None:
    small = with_tile_size(EDGE, 16)
    array, old = small.array, EDGE.array
    assert (array.rows, array.columns) == (16, 16)
    assert array.count * 256 == near(old.rows * old.columns * old.count)
    assert small.accumulator.size_b * array.count == near(EDGE.accumulator.size_b * old.count)
    assert small.static.array_w * array.count == near(EDGE.static.array_w * old.count)
    assert with_tile_size(small, 16) is small
    huge = with_tile_size(replace(EDGE, array=replace(old, rows=8, columns=8, count=1)), 64)
    assert huge.array.count == 1


@pytest.mark.parametrize("cost", [pass_time_s, pass_energy_j])
def test_the_best_run_is_the_cheapest_of_all_policies(cost) -> None:
    step = prefill(SHAPE, 64)
    system = halo_system(LOADED, step, EDGE)

    def run(policies):
        return best_pass(
            step, system.layer_tiles, system.points, EDGE, LOADED.classes, "HALO", policies=policies, cost=cost
        )

    each = {policy: cost(run((policy,)).simulation) for policy in POLICIES}
    best = run(POLICIES)
    assert cost(best.simulation) == min(each.values()) < max(each.values())
    assert each[best.schedule.policy] == min(each.values())
