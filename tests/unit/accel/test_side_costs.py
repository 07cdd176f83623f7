"""Decoding and scaling beside an array, counted by hand."""

from haloquant.accel.elements import FLOAT_ENERGY, element_of
from haloquant.accel.side_costs import side_energy_j
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.accel.workload.synthetic_tiles import ClassMix, Encoding, synthetic_workload
from haloquant.records import Gemm, Schedule
from support.accel_cases import WEIGHTS, toy_profile
from support.near import near
from support.whole_elements import made_of


def test_weights_are_decoded_once_a_block_and_sums_scaled_once_a_tile() -> None:
    gemms = (Gemm("a", 10, 16, 24, 0), Gemm("attention", 10, 16, 8, 1, 2, False), Gemm("lm_head", 1, 24, 32, 2))
    workload = Workload("w", "prefill", gemms, 10, 1, 8)
    even = ClassMix(1.0, WEIGHTS, WEIGHTS * 0.0 + 1)
    tiles = synthetic_workload(workload, 8, 8, [even], Encoding(4.0), [even], Encoding(8.0, 0.0))
    schedule = Schedule((), (), 0, "none", {0: 3})
    plain, coded = element_of(toy_profile()), element_of(made_of(list(range(-128, 128)), 50e-12, 12))
    found = side_energy_j(workload, tiles, schedule, coded, plain, {"lm_head": 2})
    # layer a in 3 blocks of rows, two tiles across its 16 inputs; the head once, in two passes
    assert found["decode"] == near((3 * 16 * 24 + 2 * 24 * 32) * plain.mean_j)
    assert found["rescale"] == near((10 * 24 * 2 + 2 * 1 * 32) * FLOAT_ENERGY * plain.mean_j)
    assert side_energy_j(workload, tiles, schedule, plain, plain, {})["decode"] == 0.0
