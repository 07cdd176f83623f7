"""Whole passes of LLaMA-2-7B against a table derived by hand (closed forms and bandwidth, no attention).

The table: 6.607 G weights, 128 x 128 arrays, 16-bit floating point at half rate, 80 % of tiles at 3.7 GHz and 20 % at
2.4, 4.16 bits per weight, the head in 8 bits at 1.9 GHz, 1 us per transition.
"""

from dataclasses import replace

import pytest

from haloquant.accel.rival_systems import System, float_system
from haloquant.accel.system_comparison import run_system
from haloquant.accel.target import Target
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import Workload, decode, prefill
from haloquant.accel.workload.synthetic_tiles import Encoding, synthetic_workload
from haloquant.dvfs.schedule import plan
from haloquant.store.targets import read_systolic
from support.accel_cases import EIGHT, HEAD, mix, toy_profile

SHAPE = named_shape("llama2-7b")
DECODE = decode(SHAPE, 1, attention=False)
PREFILL = prefill(SHAPE, 2048, attention=False, head_rows=2048)


def _machine(bandwidth_b_per_s: float, arrays: int) -> Target:
    """The table's machines: the paper's points, half-rate floats, ideal streams, no limit of sums, 1 us switches."""
    paper = read_systolic("paper_tpu")
    return replace(
        paper,
        array=replace(paper.array, count=arrays, float_rate=0.5),
        dram=replace(paper.dram, bandwidth_b_per_s=bandwidth_b_per_s),
        transition=replace(paper.transition, latency_s=1e-6),
    )


def _milliseconds(workload: Workload, target: Target) -> list[float]:
    points = target.points
    tiles = {
        "HALO": synthetic_workload(workload, 128, 128, mix(0, 0.2, 0.8), Encoding(4.16, 0.0), HEAD, EIGHT),
        "W8A8": synthetic_workload(workload, 128, 128, HEAD, EIGHT),
        "W4A8": synthetic_workload(workload, 128, 128, HEAD, Encoding(4.0, 0.0), HEAD, EIGHT),
    }
    systems = [float_system(), *(System(name, tiles[name], points, 8, "") for name in ("W8A8", "W4A8", "HALO"))]
    return [1e3 * run_system(s, workload, target, toy_profile(), plan, "serpentine").time_s for s in systems]


@pytest.mark.parametrize(
    ("workload", "bandwidth", "arrays", "expected"),
    [
        (DECODE, 68e9, 1, (194.3, 97.2, 49.5, 51.7)),
        (DECODE, 614e9, 4, (21.5, 10.8, 6.88, 5.84)),
        (DECODE, 614e9, 1, (54.4, 27.2, 27.2, 15.8)),
        (DECODE, float("inf"), 1, (54.4, 27.2, 27.2, 15.8)),
        (PREFILL, 614e9, 4, (217.4, 108.7, 108.7, 62.9)),
    ],
    ids=["lpddr decode", "hbm decode 4", "hbm decode 1", "paper-like decode", "hbm prefill 4"],
)
def test_table(workload: Workload, bandwidth: float, arrays: int, expected: tuple[float, ...]) -> None:
    assert _milliseconds(workload, _machine(bandwidth, arrays)) == pytest.approx(expected, rel=0.015)
