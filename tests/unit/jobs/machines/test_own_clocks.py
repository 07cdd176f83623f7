"""A profile's own picoseconds set the clock; the machine's base clock is the limit."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.elements import element_of
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.errors import InputError
from haloquant.jobs.machines.new_silicon import compare_on_new_silicon
from haloquant.jobs.machines.own_clocks import limited, own_clocks, scaled_clock_note
from haloquant.jobs.machines.supply_law import choose_supply_law
from haloquant.jobs.machines.systems import halo_system, run_system
from haloquant.records import MacProfile
from haloquant.store.targets import read_systolic
from support.accel_cases import honest, toy_profile, toy_target
from support.machine_models import LOADED, SHAPE
from support.near import near
from support.whole_elements import made_of

EDGE = read_systolic("edge_lpddr5x")
BASE_S = EDGE.base.period_s


def timed(values: list[int], delay_s: float) -> MacProfile:
    """A whole element with one delay."""
    made = made_of(values, 50e-12, 4)
    return replace(made, delay_s=np.full_like(made.delay_s, delay_s))


def test_a_slower_mac_gets_a_slower_clock() -> None:
    """The toy's slowest value takes `slowest` seconds; twice the delay is half the clock, and no clock is above 1.9."""
    slowest = float(toy_profile().delay_s[0].max())
    two_periods = own_clocks(EDGE, toy_profile(), 0, 2 * BASE_S / slowest)
    assert two_periods.machine.base.frequency_hz == near(EDGE.base.frequency_hz / 2) and two_periods.used == near(1)
    half = own_clocks(EDGE, toy_profile(), 0, 0.5 * BASE_S / slowest)
    assert half.machine.base == EDGE.base and half.used == near(0.5)
    assert half.unlimited.base.frequency_hz == near(2 * EDGE.base.frequency_hz)
    assert "all its values meet 3.8 GHz; the limit is edge_lpddr5x's base clock, 1.9 GHz" in half.note
    with pytest.raises(InputError, match="clock own needs a machine whose clocks a profile sets, and paper_tpu claims"):
        own_clocks(read_systolic("paper_tpu"), toy_profile(), 0, 1.0)
    assert f"{BASE_S / slowest:.2f} times its own delay" in scaled_clock_note(EDGE, toy_profile(), 0)


def test_classes_below_the_limit_keep_their_ratio_and_those_above_it_are_cut() -> None:
    slowest, step = float(toy_profile().delay_s[0].max()), prefill(SHAPE, 64)
    ratios = [LOADED.classes.clock_ratio(i) for i in range(3)]
    for factor in (2.0, 0.5):
        own = own_clocks(EDGE, toy_profile(), 0, factor * BASE_S / slowest)
        halo = limited(halo_system(LOADED, step, own.unlimited), EDGE)
        wanted = [min(1.0, ratio / factor) * EDGE.base.frequency_hz for ratio in ratios]
        assert [point.frequency_hz for point in halo.points] == near(wanted)
        assert run_system(halo, step, own.machine, LOADED, used=own.used).time_s > 0


def test_elements_of_new_silicon_run_by_their_own_delays_up_to_the_limit() -> None:
    target, step = honest(toy_target(rows=16, columns=16)), (decode(SHAPE, 24),)
    period = target.base.period_s
    eight = timed(list(range(-128, 128)), period)
    four = timed(list(range(-8, 8)), period / 4)
    elements = [element_of(eight), element_of(four)]

    def clocks(delay_factor: float) -> dict[tuple[str, str], float]:
        found = compare_on_new_silicon(LOADED, step, target, elements, every=True, delay_factor=delay_factor)
        base = target.base.frequency_hz
        return {(run.system, run.element): run.points[0].frequency_hz / base for run in found.runs}

    wide, slow = clocks(1.0), clocks(8.0)
    assert wide["W8A8", eight.name] == near(1) and wide["W4A8", four.name] == near(1)  # four times as fast, but limited
    assert slow["W8A8", eight.name] == near(1 / 8) and slow["W4A8", four.name] == near(1 / 2)


def test_slack_of_an_element_becomes_a_lower_supply() -> None:
    """A delay of a quarter period may grow fourfold: V / (V - 0.35)**1.3 relative to 1 V, but not below 0.6 V."""
    target, step = honest(toy_target(rows=16, columns=16)), (prefill(SHAPE, 40),)
    eight = timed(list(range(-128, 128)), target.base.period_s)
    four = timed(list(range(-8, 8)), target.base.period_s / 4)
    same = replace(four, name="alike", delay_s=four.delay_s * 4)
    law = choose_supply_law(eight, target)
    elements = [element_of(each) for each in (eight, four, same)]
    found = compare_on_new_silicon(LOADED, step, target, elements, every=True, supply=law)
    runs = {(run.system, run.element): run for run in found.runs}
    quick, full = runs["W4A8", four.name], runs["W4A8", "alike"]
    assert quick.points[0].frequency_hz == full.points[0].frequency_hz == near(target.base.frequency_hz)
    assert quick.points[0].voltage_v == near(law.lowest_v) and full.points[0].voltage_v == target.base.voltage_v
    for part in ("q_proj", "scores", "values"):  # attention holds all values of the element, which have the same slack
        joules = [
            sum(layer.cost.energy_j["mac"] for layer in run.simulation.layers if layer.layer.endswith(part))
            for run in (quick, full)
        ]
        assert joules[0] / joules[1] == near((law.lowest_v / target.base.voltage_v) ** 2), part
    # Floating point on the plain element's clock has no slack; at half the delay of the machine's period it has some.
    assert runs["FP16", f"cited, 7.2 x {eight.name}"].points == (target.base,)
    own = compare_on_new_silicon(LOADED, step, target, elements, delay_factor=1.0, supply=law, only=["FP16"])
    assert own.runs[0].points == (target.base,)
    loose = [element_of(timed(list(range(-128, 128)), target.base.period_s / 2))]
    low = compare_on_new_silicon(LOADED, step, target, loose, delay_factor=1.0, supply=law, only=["FP16"]).runs[0]
    assert low.points[0].frequency_hz == near(target.base.frequency_hz)
    assert low.points[0].voltage_v < target.base.voltage_v
