"""Rows of charts are the numbers of their records."""

from dataclasses import replace

from haloquant.accel.chart_rows import (
    comparison_row,
    gpu_row,
    limiting_resource,
    policy_row,
    stacked_bars,
    sweep_marks,
)
from haloquant.accel.gpu_roofline import FLOAT16, what_if
from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import float_system
from haloquant.accel.system_comparison import compare_runs, run_system, sweep_static
from haloquant.accel.target import Target
from haloquant.dvfs.schedule import plan
from haloquant.records import Cost
from haloquant.store.targets import read_gpu
from support.accel_cases import tiny_workload, toy_profile, toy_target
from support.near import near

WORKLOAD, TARGET = tiny_workload(), toy_target()


def _run(target: Target = TARGET) -> Simulation:
    return run_system(float_system(), WORKLOAD, target, toy_profile(), plan)


def test_bars_stack_to_the_totals_and_leave_out_what_is_zero() -> None:
    run = _run()
    bars = stacked_bars([run])
    for quantity, total in (("time_s", run.time_s), ("energy_j", run.total.total_energy_j)):
        assert sum(bar.value for bar in bars if bar.quantity == quantity) == near(total)
    assert all(bar.value > 0 for bar in bars)
    assert {bar.part for bar in bars if bar.quantity == "time_s"} < set(run.total.time_s)


def test_a_mark_has_the_sweeps_value_and_the_runs_cost() -> None:
    points = sweep_static(_run, TARGET)
    marks = sweep_marks(points)
    assert [mark.value for mark in marks] == [point.value for point in points]
    assert [mark.energy_j for mark in marks] == [point.simulation.total.total_energy_j for point in points]
    assert {(mark.system, mark.swept, mark.unit) for mark in marks} == {("FP16", "static power per array", "W")}


def test_a_comparison_keeps_both_numbers_of_its_ratio() -> None:
    run = _run()
    slow = replace(run, total=Cost({"compute": 3 * run.time_s}, {"mac": 5 * run.total.total_energy_j}, 0, 0))
    row = comparison_row("paper", compare_runs(run, [(float_system(), slow)])[0])
    assert (row.premise, row.speedup, row.energy_ratio) == ("paper", near(3), near(5))
    assert row.rival_time_s == near(3 * row.time_s)


def test_the_resource_that_takes_most_time_limits_a_pass() -> None:
    """Filling and switching are no resources."""
    time = {"compute": 1.0, "dram": 2.0, "fill": 5.0, "transition": 4.0}
    run = replace(_run(), total=Cost(time, {"mac": 7.0}, 0, 3))
    assert limiting_resource(run) == "dram"
    row = policy_row(run)
    assert (row.transitions, row.time_s, row.transition_s, row.energy_j) == (3, 12.0, 4.0, 7.0)


def test_a_gpus_row_names_the_blocks_that_must_follow() -> None:
    items = what_if(WORKLOAD, read_gpu("gpu_2080ti"), FLOAT16)
    rows = [gpu_row(item) for item in items]
    assert [row.speedup for row in rows] == [near(rows[0].time_s / row.time_s) for row in rows]
    for item, row in zip(items, rows, strict=True):
        assert row.must_follow.split(", ") == ([block.name for block in item.must_follow] or [""])
