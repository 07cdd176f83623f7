"""Comparisons and sweeps of systems on one machine."""

from haloquant.accel.rival_systems import float_system, uniform_system
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

    points = [*sweep_transition(again, target), *sweep_static(again, target), *sweep_bandwidth(again, target, [1e9])]
    assert [point.swept for point in points] == ["transition"] * 5 + ["static power per array"] * 4 + ["bandwidth"]
