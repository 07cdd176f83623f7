"""Orders, counts of transitions, cuts for finite accumulators, islands, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.passes import decode, prefill
from haloquant.accel.workload.synthetic_tiles import Encoding, synthetic_workload
from haloquant.dvfs.order import class_orders
from haloquant.dvfs.reference.exhaustive_order import fewest_transitions
from haloquant.dvfs.schedule import Policy, plan, repoint
from haloquant.dvfs.supply_modes import (
    alpha_power,
    boost_points,
    eco_points,
    lowest_voltage,
    slowed_points,
    voltage_steps,
)
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


def test_serpentine_turns_round() -> None:
    orders = class_orders([POINTS, POINTS, POINTS], [1, 1, 1])
    assert orders in ([POINTS, POINTS[::-1], POINTS], [POINTS[::-1], POINTS, POINTS[::-1]])


def test_a_group_gone_through_twice_ends_where_it_began() -> None:
    orders = class_orders([(BASE, TOP), (TOP,)], [2, 1])
    assert orders == [(TOP, BASE), (TOP,)]


def test_a_class_in_the_middle_may_come_first() -> None:
    # going up or down from the middle would cross it twice
    groups = [(MIDDLE,), (BASE, MIDDLE, TOP), (TOP,)]
    assert class_orders(groups, [1, 1, 1]) == [(MIDDLE,), (MIDDLE, BASE, TOP), (TOP,)]
    assert fewest_transitions(groups) == 2


def test_attention_runs_whole_at_the_base() -> None:
    workload = tiny_workload(attention=True)
    schedule = plan(workload.gemms, random_tiles(workload, 0), POINTS, BASE)
    whole = [(phase.point, phase.whole) for phase in schedule.phases if phase.whole]
    assert whole == [(BASE, (2,)), (BASE, (6,))]


def test_islands_share_tiles_and_never_switch() -> None:
    workload = tiny_workload()
    schedule = plan(workload.gemms, random_tiles(workload, 0), POINTS, BASE, Policy.ISLANDS, arrays=5)
    assert schedule.transitions == 0
    owners = {phase.arrays: phase.point for phase in schedule.phases}
    assert len(owners) == 3
    assert sorted(number for low, high in owners for number in range(low, high)) == list(range(5))


def test_one_point_for_all_has_the_highest_supply_of_equal_clocks() -> None:
    workload = tiny_workload()
    eco = tuple(OperatingPoint(volts, 1.9e9) for volts in (1.0, 0.9, 0.7))
    schedule = plan(workload.gemms, random_tiles(workload, 0), eco, eco[0], Policy.NONE)
    assert {phase.point for phase in schedule.phases} == {eco[0]}


def test_repoint_counts_anew() -> None:
    workload = tiny_workload()
    schedule = plan(workload.gemms, random_tiles(workload, 0), POINTS, BASE)
    assert schedule.transitions > 0
    assert repoint(schedule, {MIDDLE: BASE, TOP: BASE}).transitions == 0


def _tiles():
    workload = tiny_workload(layers=1)
    return workload, random_tiles(workload, 0)


def test_a_tile_map_of_another_layer_is_refused() -> None:
    workload, tiles = _tiles()
    tiles["0.q"] = replace(tiles["0.k"], layer="0.q")
    with pytest.raises(InputError, match=r"^tile map of 0.q must be of a 24 x 20 layer \(out x in\), not 13 x 20.$"):
        plan(workload.gemms, tiles, POINTS, BASE)


def test_a_tile_map_of_another_size_is_refused() -> None:
    workload, tiles = _tiles()
    wide = np.zeros((3, 4, 256), np.int64)
    tiles["0.q"] = replace(tiles["0.q"], classes=np.zeros((3, 4), np.uint8), histogram=wide)
    with pytest.raises(InputError, match=r"^tile map of 0.q must have 3 x 3 tiles \(down x across\), not 3 x 4.$"):
        plan(workload.gemms, tiles, POINTS, BASE)


def test_a_class_without_a_point_is_refused() -> None:
    workload, tiles = _tiles()
    tiles["0.q"] = replace(tiles["0.q"], classes=np.full((3, 3), 7, np.uint8))
    with pytest.raises(InputError, match=r"^class of a tile of 0.q must be below 3, the number of .* given, not 7.$"):
        plan(workload.gemms, tiles, POINTS, BASE)


def test_tiles_of_an_unknown_layer_are_refused() -> None:
    workload, tiles = _tiles()
    tiles["1.q"] = tiles["0.q"]
    with pytest.raises(InputError, match=r"^tile maps must be of layers of the workload, not 1.q.$"):
        plan(workload.gemms, tiles, POINTS, BASE)


def test_bad_choices_are_refused() -> None:
    workload, tiles = _tiles()
    with pytest.raises(InputError, match=r"^policy must be one of serpentine, panel, .*, not 'random'.$"):
        plan(workload.gemms, tiles, POINTS, BASE, "random")
    with pytest.raises(InputError, match=r"^accumulator_bytes must be above 0, not -1.$"):
        plan(workload.gemms, tiles, POINTS, BASE, accumulator_bytes=-1.0)
    with pytest.raises(InputError, match=r"^arrays must be at least 1, not 0.$"):
        plan(workload.gemms, tiles, POINTS, BASE, arrays=0)
    with pytest.raises(InfeasibleError, match=r"^islands need at least one array per operating point in use, 3, not 2"):
        plan(workload.gemms, tiles, POINTS, BASE, Policy.ISLANDS, arrays=2)
    with pytest.raises(InfeasibleError, match=r"^accumulators must hold one row of partial sums of group 0, 148 B"):
        plan(workload.gemms, tiles, POINTS, BASE, Policy.SERPENTINE, 100.0)
    with pytest.raises(InputError, match=r"^orders to try must be at most 2000000, not 3628800; use fewer tiles.$"):
        fewest_transitions([[BASE] * 10])


def test_eco_lowers_the_supply_at_the_base_clock() -> None:
    curve = alpha_power(0.35, 1.3, 1.0)
    assert curve(1.0) == 1.0 and curve(0.8) > 1.0 > curve(1.2) and curve(0.3) == float("inf")
    steps = voltage_steps(0.5, 1.0)
    assert len(steps) == 21 and steps[-1] == pytest.approx(1.0)
    # a class 1.65 times as fast as the base may run at about 0.68 V (PowerPruning's use of slack; hand derivation)
    slow, fast = eco_points([1 / 1.9e9, 1 / 1.9e9 / 1.649], 1.9e9, curve, steps)
    assert slow.voltage_v == pytest.approx(1.0) and fast.voltage_v == pytest.approx(0.7)
    assert slow.frequency_hz == fast.frequency_hz == 1.9e9
    assert 1.9e9 * curve(0.7) / 1.649 <= 1.9e9 < 1.9e9 * curve(0.675) / 1.649


def test_boost_and_slowing_follow_the_curve() -> None:
    curve = alpha_power(0.35, 1.3, 1.0)
    (point,) = boost_points([500e-12], curve, 1.2)
    assert point.frequency_hz == pytest.approx(2e9 / curve(1.2))
    (back,) = slowed_points([point], curve, 1 / 1.2)
    assert back.voltage_v == pytest.approx(1.0) and back.frequency_hz == pytest.approx(2e9)


def test_voltages_that_cannot_be_are_refused() -> None:
    curve = alpha_power(0.35, 1.3, 1.0)
    with pytest.raises(InputError, match=r"^corner_v must be above the threshold, 0.35 V, not 0.3 V.$"):
        alpha_power(0.35, 1.3, 0.3)
    with pytest.raises(InputError, match=r"^voltage steps must ascend from above 0 V in positive steps, not 1 to 0.5"):
        voltage_steps(1.0, 0.5)
    with pytest.raises(InfeasibleError, match=r"^period must be at least 526 ps, which the slowest weight value meets"):
        lowest_voltage(526e-12, 400e-12, curve, (0.9, 1.0))
    with pytest.raises(InfeasibleError, match=r"^supply must stay above the threshold, and 0.33 V does not.$"):
        slowed_points([OperatingPoint(1.1, 1e9)], curve, 0.3)
