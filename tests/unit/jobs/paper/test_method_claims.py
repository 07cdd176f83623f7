"""Rows on transitions, the sparse engine and the time of an inference, from made-up simulations."""

from dataclasses import replace

import pytest

from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import System
from haloquant.accel.system_comparison import run_system
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.accel.workload.synthetic_tiles import Encoding, synthetic_workload
from haloquant.dvfs.schedule import plan
from haloquant.jobs.paper.method_claims import Inference, method_rows
from haloquant.store.paper_figures import read_statements
from haloquant.store.targets import read_systolic
from support.accel_cases import mix, toy_profile
from support.machine_models import SHAPE


def run(phase: str) -> Simulation:
    workload = (prefill if phase == "prefill" else decode)(SHAPE, 64, attention=False)
    target = read_systolic("paper_tpu")
    tiles = synthetic_workload(workload, 128, 128, mix(0, 0.5, 0.5), Encoding(4.0, 5.0))
    return run_system(System("HALO", tiles, target.points, 8, ""), workload, target, toy_profile(), plan, "panel")


@pytest.fixture(scope="module")
def inference() -> Inference:
    return Inference("llama2-13b", run("prefill"), run("decode"), 4, 0.59, 0.0046)


def test_the_sparse_engine_is_judged_in_both_phases(inference: Inference) -> None:
    rows = method_rows([inference])
    decoded, filled = (row for row in rows if row.unit == "share")
    assert (decoded.ours, decoded.verdict) == (0.0046, "partly") and "lanes; these are assumed" in decoded.why
    assert (filled.ours, filled.verdict) == (0.59, "not reproduced")
    slow = method_rows([replace(inference, sparse_decode_share=0.02)])
    assert [row.verdict for row in slow if row.unit == "share"] == ["not reproduced"] * 2


def test_transitions_are_counted_for_each_group(inference: Inference) -> None:
    row = method_rows([inference])[0]
    switches = inference.decode.total.transitions
    assert row.ours == switches > 0 and f"{switches / 4:.2f} for each of 4 groups" in row.why


def test_the_time_of_an_inference_is_that_of_a_decode_step(inference: Inference) -> None:
    row = method_rows([inference])[-1]
    assert (row.unit, row.paper, row.verdict) == (
        "ms",
        read_statements()["inference-llama2-13b"].value,
        "not reproduced",
    )
    assert row.ours == pytest.approx(inference.decode.time_s * 1e3)
