"""Roofs by hand, and the layers of a pass below them."""

from dataclasses import replace

from haloquant.accel.rival_systems import uniform_system
from haloquant.accel.roofline import roofline_points, roofs
from haloquant.accel.system_comparison import run_system
from haloquant.dvfs.schedule import plan
from support.accel_cases import BASE, TOP, tiny_workload, toy_codebooks, toy_profile, toy_target
from support.near import near


def test_a_roof_is_the_lower_of_bandwidth_and_arithmetic() -> None:
    """64 multipliers at 1.9 GHz; 90 % of 20 GB/s."""
    (roof,) = roofs(toy_target(), [BASE])
    assert (roof.point, roof.macs_per_s, roof.bandwidth_b_per_s) == (BASE, near(64 * 1.9e9), near(18e9))
    assert roof.ridge_macs_per_b == near(64 * 1.9 / 18)
    assert roof.attainable_macs_per_s(roof.ridge_macs_per_b / 2) == near(roof.macs_per_s / 2)
    assert roof.attainable_macs_per_s(roof.ridge_macs_per_b * 2) == roof.macs_per_s
    assert [r.point for r in roofs(toy_target(count=3))] == list(toy_target().points)
    assert roofs(toy_target(count=3), [TOP])[0].macs_per_s == near(3 * 64 * 3.7e9)


def test_no_layer_is_above_the_roof() -> None:
    workload, target, profile = tiny_workload(), toy_target(), toy_profile()
    eight = uniform_system(workload, (8, 8), 8, profile, 0, toy_codebooks(), BASE)
    run = run_system(eight, workload, target, profile, plan)
    made = roofline_points(run)
    assert [dot.name for dot in made] == [gemm.layer for gemm in workload.gemms] + ["whole pass"]
    roof = max(roofs(target), key=lambda r: r.macs_per_s)
    assert all(dot.macs_per_s <= roof.attainable_macs_per_s(dot.macs_per_b) * (1 + 1e-9) for dot in made)
    macs = sum(gemm.m * gemm.k * gemm.n for gemm in workload.gemms)
    assert made[-1].macs_per_b == near(macs / run.dram_bytes)
    assert made[-1].macs_per_s == near(macs / run.time_s)


def test_a_pass_without_memory_traffic_has_infinite_intensity() -> None:
    workload, profile = tiny_workload(), toy_profile()
    eight = uniform_system(workload, (8, 8), 8, profile, 0, toy_codebooks(), BASE)
    run = run_system(eight, workload, toy_target(), profile, plan)
    bare = replace(run, dram_bytes=0.0, layers=tuple(replace(layer, dram_bytes=0.0) for layer in run.layers))
    assert {dot.macs_per_b for dot in roofline_points(bare)} == {float("inf")}
