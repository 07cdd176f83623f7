"""Comparisons and sweeps, their chart rows and their roofline."""

from haloquant.accel.chart_rows import stacked_bars, sweep_marks
from haloquant.accel.rival_systems import float_system, uniform_system
from haloquant.accel.roofline import roofline_points, roofs
from haloquant.accel.system_comparison import compare_runs, run_system, sweep_bandwidth, sweep_static, sweep_transition
from haloquant.dvfs.schedule import plan
from support.accel_cases import (
    BASE,
    tiny_workload,
    toy_codebooks,
    toy_profile,
    toy_target,
)
from support.near import near


def test_comparison_and_sweeps_are_plain_records() -> None:
    workload = tiny_workload()
    target, profile = toy_target(), toy_profile()
    eight = uniform_system(workload, (8, 8), 8, profile, 0, toy_codebooks(), BASE)
    four = uniform_system(workload, (8, 8), 4, profile, 0, toy_codebooks(), BASE)
    runs = {s.name: run_system(s, workload, target, profile, plan) for s in (eight, four, float_system())}
    rows = compare_runs(runs["W4A8 (x16)"], [(eight, runs["W8A8"]), (float_system(), runs["FP16"])])
    assert [row.rival for row in rows] == ["W8A8", "FP16"]
    assert rows[1].speedup == near(runs["FP16"].time_s / runs["W4A8 (x16)"].time_s)
    assert rows[1].speedup > rows[0].speedup > 1 and rows[1].energy_ratio > 1

    def again(machine):
        return run_system(four, workload, machine, profile, plan)

    lines = sweep_marks(
        [*sweep_transition(again, target), *sweep_static(again, target), *sweep_bandwidth(again, target, [1e9])]
    )
    assert [mark.swept for mark in lines] == ["transition"] * 5 + ["static power per array"] * 4 + ["bandwidth"]
    bars = stacked_bars(list(runs.values()))
    total = sum(bar.value for bar in bars if bar.system == "FP16" and bar.quantity == "energy_j")
    assert total == near(runs["FP16"].total.total_energy_j)
    made = roofline_points(runs["W8A8"])
    assert made[-1].name == "whole pass" and len(made) == 7
    roof = max(roofs(target), key=lambda r: r.macs_per_s)
    assert all(dot.macs_per_s <= roof.attainable_macs_per_s(dot.macs_per_b) * (1 + 1e-9) for dot in made)
    assert roof.ridge_macs_per_b == near(64 * 3.7e9 / 18e9)
