"""Equal area: every system on its own element, with its own clock."""

from dataclasses import replace

import pytest

from haloquant.accel.elements import column_area_m2, element_of
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.errors import InputError
from haloquant.jobs.machines.element_systems import systems_on
from haloquant.jobs.machines.new_silicon import compare_on_new_silicon, run_on_element
from haloquant.jobs.machines.supply_law import OneSupply
from haloquant.jobs.machines.systems import halo_system
from support.accel_cases import honest, toy_target
from support.machine_models import LOADED, SHAPE
from support.near import near
from support.whole_elements import made_of

EIGHT = made_of(list(range(-128, 128)), 50e-12, 12)
FOUR = made_of(list(range(-8, 8)), 25e-12, 4)
POWERS = made_of([-8, -4, -2, -1, 0, 1, 2, 4, 8], 15e-12, 5)
TARGET = honest(toy_target(rows=16, columns=16))
PASSES = (prefill(SHAPE, 40), decode(SHAPE, 24))


def test_every_system_gets_the_same_area_and_its_own_clock() -> None:
    quick = replace(FOUR, delay_s=FOUR.delay_s / 2)
    elements = [element_of(each) for each in (EIGHT, quick, POWERS)]
    found = compare_on_new_silicon(LOADED, PASSES, TARGET, elements, every=True)
    plain = elements[0]
    assert found.area_m2 == near(16 * column_area_m2(16, plain, plain, scaled=False))
    assert found.plain == EIGHT.name
    runs = {(run.phase, run.system, run.element): run for run in found.runs}
    assert {system for _, system, _ in runs} == {"FP16", "W8A8", "W4A8", "W3A8", "HALO", "9 words only"}
    own = runs["prefill", "W8A8", EIGHT.name]
    assert own.columns == 16 and own.points[0].frequency_hz == near(TARGET.base.frequency_hz)
    four = runs["prefill", "W4A8", quick.name]
    assert four.points[0].frequency_hz == near(2 * TARGET.base.frequency_hz)
    column = column_area_m2(16, elements[1], plain, scaled=True)
    assert four.columns == int(found.area_m2 / column)
    for run in found.runs:
        assert found.area_m2 * 0.5 < run.array_area_m2 <= found.area_m2 * (1 + 1e-9)
        assert run.energy_j == near(run.simulation.total.total_energy_j + sum(run.side_j.values()))
    best = [run for run in found.runs if run.best]
    assert len(best) == 2 * 6
    for run in best:
        alike = [other for other in found.runs if (other.phase, other.system) == (run.phase, run.system)]
        assert run.time_s * run.energy_j == min(other.time_s * other.energy_j for other in alike)


def test_eight_bit_work_takes_two_passes_on_a_four_bit_array() -> None:
    slow = replace(FOUR, area_m2=EIGHT.area_m2)
    elements = [element_of(each) for each in (EIGHT, slow)]
    found = compare_on_new_silicon(LOADED, PASSES[:1], TARGET, elements, every=True)
    runs = {(run.system, run.element): run.simulation for run in found.runs}
    wide, narrow = runs["W4A8", EIGHT.name], runs["W4A8", slow.name]

    def joules(run, name: str) -> float:
        return next(layer.cost.energy_j["mac"] for layer in run.layers if layer.layer.endswith(name))

    # Equal energies of all values in both elements: two passes draw twice, one pass the same.
    for name, passes in (("scores", 2), ("values", 2), ("lm_head", 2)):
        assert joules(narrow, name) / joules(wide, name) == near(passes, rel=0.12)  # columns differ, so does padding
    assert joules(narrow, "q_proj") / joules(wide, "q_proj") == near(1, rel=0.12)


def test_one_supply_for_all_that_the_arrays_hold() -> None:
    """At 0.8 of the supply and 1.5 times the delay: every clock is lower, switching falls to 0.64, leakage to 0.8."""
    eight = element_of(EIGHT)
    system = next(s for s in systems_on(LOADED, element_of(FOUR)) if s.name == "W4A8")
    low_v = 0.8 * TARGET.base.voltage_v
    area_m2 = 30000e-12
    whole = run_on_element(system, PASSES[0], TARGET, eight, area_m2)
    low = run_on_element(system, PASSES[0], TARGET, eight, area_m2, supply=OneSupply(low_v, 1.5))
    assert {point.voltage_v for point in low.points} == {low_v}
    assert low.points[0].frequency_hz == near(whole.points[0].frequency_hz / 1.5)
    mine, base = low.simulation.total.energy_j, whole.simulation.total.energy_j
    for part, share in (("mac", 0.64), ("accumulator", 0.64), ("dram", 1.0), ("sram", 1.0)):
        assert mine[part] == near(share * base[part]), part
    for part, joule in whole.side_j.items():
        assert low.side_j[part] == near(0.64 * joule), part
    assert 1.0 < low.time_s / whole.time_s <= 1.5 + 1e-9


def test_what_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="new silicon needs a whole processing element for all 8-bit values"):
        compare_on_new_silicon(LOADED, PASSES, TARGET, [element_of(FOUR)])
    with pytest.raises(InputError, match=r"^the area must be at least .* mm2"):
        compare_on_new_silicon(LOADED, PASSES, TARGET, [element_of(EIGHT)], area_m2=1e-12)


def test_what_does_not_fit_is_left_out_and_the_others_are_compared() -> None:
    """A column of 16 4-bit elements takes 1,243 um2, one of the plain element 1,394: only 4 and 3 bits fit 1,300."""
    elements = [element_of(EIGHT), element_of(FOUR)]
    found = compare_on_new_silicon(LOADED, PASSES, TARGET, elements, area_m2=1300e-12)
    assert [(run.phase, run.system, run.columns, run.best) for run in found.runs] == [
        (phase, system, 1, True) for phase in ("prefill", "decode") for system in ("W4A8", "W3A8")
    ]
    assert [each.system for each in found.left_out if each.whole_system] == ["W8A8", "HALO", "FP16"]
    assert found.plain == EIGHT.name and found.notes[-1].endswith("of256 (W4A8, W3A8)")
    # An element that does not fit beats none that does.
    better = element_of(
        replace(FOUR, name="better", area_m2=90e-12, delay_s=FOUR.delay_s / 9, energy_j=FOUR.energy_j / 9)
    )
    again = compare_on_new_silicon(LOADED, PASSES, TARGET, [*elements, better], area_m2=1300e-12)
    assert [(run.system, run.time_s) for run in again.runs] == [(run.system, run.time_s) for run in found.runs]
    assert "better" in {each.element for each in again.left_out}


def test_tiles_of_a_packed_model_are_drawn_anew_with_its_shares() -> None:
    tiles = halo_system(LOADED, PASSES[1], toy_target()).layer_tiles
    body = {name: part for name, part in tiles.items() if name != "lm_head"}
    packed = replace(LOADED, tiles=body)
    found = compare_on_new_silicon(packed, PASSES[1:], TARGET, [element_of(EIGHT), element_of(POWERS)])
    halo = next(run for run in found.runs if run.system == "HALO")
    assert halo.element == EIGHT.name
    drawn = compare_on_new_silicon(LOADED, PASSES[1:], TARGET, [element_of(EIGHT)])
    other = next(run for run in drawn.runs if run.system == "HALO")
    assert halo.simulation.macs == other.simulation.macs
    # The head has no tiles in the packed model: it stays in floating point, in every system.
    head = {run.system: run.simulation.layers[-1] for run in found.runs}
    assert head["HALO"].cost.energy_j["mac"] == near(head["W8A8"].cost.energy_j["mac"], rel=0.2)
    assert "9 words only" not in head
