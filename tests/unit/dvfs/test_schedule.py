"""Transitions of whole passes, cuts for finite accumulators, and what is refused."""

import pytest

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.accel.workload.synthetic_tiles import Encoding, synthetic_workload
from haloquant.dvfs.schedule import Policy, plan
from haloquant.errors import InfeasibleError, InputError
from haloquant.records import OperatingPoint
from support.accel_cases import BASE, EIGHT, HEAD, MIDDLE, TOP, mix, random_tiles, tiny_workload

POINTS = (BASE, MIDDLE, TOP)
SEVEN = named_shape("llama2-7b")


def _llama(shares: tuple[float, float, float], m: int, policy: str, accumulator_bytes: float = float("inf")) -> int:
    workload = decode(SEVEN, 1, attention=False) if m == 1 else prefill(SEVEN, m, attention=False, head_rows=m)
    tiles = synthetic_workload(workload, 128, 128, mix(*shares), Encoding(), HEAD, EIGHT)
    return plan(workload.gemms, tiles, POINTS, BASE, policy, accumulator_bytes).transitions


def test_llama2_7b_makes_129_transitions_with_two_levels_and_256_with_three() -> None:
    # 4 groups x 32 layers, one switch inside each, and the step to the 8-bit head
    assert _llama((0, 0.2, 0.8), 1, "serpentine") == 129
    # two inside each of 128 groups; the last ends at the base, so the head needs no step
    assert _llama((0.1, 0.1, 0.8), 1, "serpentine") == 256


@pytest.mark.parametrize(("mebi", "count"), [(4, 2721), (16, 705), (64, 225)])
def test_finite_accumulators_cost_transitions(mebi: int, count: int) -> None:
    # blocks of rows by hand: qkv 12288, o 4096, gate and up 22016, down 4096 columns of 2048 x 4 bytes
    def blocks(columns: int) -> int:
        return -(-2048 // int(mebi * 2**20 // (4 * columns)))

    assert sum(blocks(n) for n in (12288, 4096, 22016, 4096)) * 32 + 1 == count
    assert _llama((0, 0.2, 0.8), 2048, "serpentine", mebi * 2.0**20) == count


def test_panels_make_about_as_many_transitions_and_no_blocks_of_rows() -> None:
    workload = prefill(SEVEN, 2048, attention=False)
    tiles = synthetic_workload(workload, 128, 128, mix(0, 0.2, 0.8))
    panel = plan(workload.gemms, tiles, POINTS, BASE, "panel", 16 * 2.0**20)
    rows = plan(workload.gemms, tiles, POINTS, BASE, "serpentine", 16 * 2.0**20)
    assert not panel.row_blocks and max(rows.row_blocks.values()) == 11
    assert panel.transitions == pytest.approx(rows.transitions, rel=0.05)


def test_attention_runs_whole_at_the_base() -> None:
    workload = tiny_workload(attention=True)
    schedule = plan(workload.gemms, random_tiles(workload, 0), POINTS, BASE)
    whole = [(phase.point, phase.whole) for phase in schedule.phases if phase.whole]
    assert whole == [(BASE, (2,)), (BASE, (6,))]


def test_one_point_for_all_has_the_highest_supply_of_equal_clocks() -> None:
    workload = tiny_workload()
    eco = tuple(OperatingPoint(volts, 1.9e9) for volts in (1.0, 0.9, 0.7))
    schedule = plan(workload.gemms, random_tiles(workload, 0), eco, eco[0], Policy.NONE)
    assert {phase.point for phase in schedule.phases} == {eco[0]}


def test_bad_choices_are_refused() -> None:
    workload = tiny_workload(layers=1)
    tiles = random_tiles(workload, 0)
    with pytest.raises(InputError, match=r"^policy must be one of serpentine, panel, .*, not 'random'$"):
        plan(workload.gemms, tiles, POINTS, BASE, "random")
    with pytest.raises(InputError, match=r"^accumulator_bytes must be above 0, not -1$"):
        plan(workload.gemms, tiles, POINTS, BASE, accumulator_bytes=-1.0)
    with pytest.raises(InputError, match=r"^arrays must be at least 1, not 0$"):
        plan(workload.gemms, tiles, POINTS, BASE, arrays=0)
    with pytest.raises(InfeasibleError, match=r"^accumulators must hold one row of partial sums of group 0 .148 B"):
        plan(workload.gemms, tiles, POINTS, BASE, Policy.SERPENTINE, 100.0)
