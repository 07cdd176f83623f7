"""What follows from the paper's own clocks, printed as such. Not a measurement: no memory, free transitions."""

import pytest

from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import System, float_system
from haloquant.accel.system_comparison import run_system
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import Workload, decode, prefill
from haloquant.accel.workload.synthetic_tiles import Encoding, synthetic_workload
from haloquant.dvfs.schedule import plan
from haloquant.store.targets import read_systolic
from support.accel_cases import EIGHT, HEAD, mix, toy_profile

SHAPE = named_shape("llama2-7b")
PASSES = (
    prefill(SHAPE, 2048, attention=False, head_rows=2048),
    decode(SHAPE, 2048, attention=False),
)


def _run(workload: Workload, fast: float) -> tuple[Simulation, Simulation, Simulation]:
    target = read_systolic("paper_tpu")
    points = target.points
    halo = synthetic_workload(workload, 128, 128, mix(0, 1 - fast, fast), Encoding(4.0, 5.0))
    eight = synthetic_workload(workload, 128, 128, HEAD, EIGHT)
    systems = (System("HALO", halo, points, 8, ""), System("W8A8", eight, points, 8, ""), float_system())
    ours, base, half = (run_system(s, workload, target, toy_profile(), plan, "serpentine") for s in systems)
    return ours, base, half


@pytest.mark.parametrize("workload", PASSES, ids=lambda w: w.phase)
def test_three_and_a_half_times_fp16_at_81_percent_fast_tiles(
    workload: Workload, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, base, half = _run(workload, 0.81)
    # by hand: half rate, and the harmonic mean of 3.7 and 2.4 GHz over 1.9 GHz
    clock = 1 / (0.81 / 3.7 + 0.19 / 2.4) / 1.9
    assert base.time_s / ours.time_s == pytest.approx(clock, rel=2e-3)
    assert half.time_s / ours.time_s == pytest.approx(2 * clock, rel=2e-3)
    assert half.time_s / ours.time_s == pytest.approx(3.53, rel=5e-3)
    with capsys.disabled():
        print(
            f"\nHALO over FP16, {workload.phase}, from the paper's clocks alone (no memory system, free transitions, "
            f"81 % fast tiles): {half.time_s / ours.time_s:.2f}x"
        )


@pytest.mark.parametrize("workload", PASSES, ids=lambda w: w.phase)
def test_no_share_of_fast_tiles_reaches_the_paper_s_353_percent(workload: Workload) -> None:
    ours, _, half = _run(workload, 1.0)
    # all tiles at 3.7 GHz: 2 x 3.7 / 1.9 = 3.89, below the 4.53 that "+353 %" would be
    assert half.time_s / ours.time_s == pytest.approx(2 * 3.7 / 1.9, rel=2e-3)
    assert half.time_s / ours.time_s < 4.53


def test_gpu_clock_ratio_is_the_paper_s_87_percent() -> None:
    from haloquant.accel.gpu_roofline import W8A8, what_if
    from haloquant.store.targets import read_gpu

    at_top = what_if(PASSES[0], read_gpu("gpu_2080ti"), W8A8)[-1]
    # 2.8 / 1.5 = 1.87: the compute-bound ceiling, if the whole board followed
    assert at_top.speedup == pytest.approx(1.87, rel=0.01)
    assert [block.name for block in at_top.must_follow][:2] == ["tensor core adder trees", "register file"]
