"""Costs of designs: lines and registers by hand, and the designs that are left out before simulation."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.elements import element_of
from haloquant.accel.side_costs import line_energy_j, lines_of
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.dvfs.schedule import Policy, plan
from haloquant.errors import InputError
from haloquant.jobs.codesign.array_cost import (
    LeftOutElement,
    Silicon,
    at_supplies,
    choices_that_fit,
    code_bits,
    cost_of,
    costs_of_all,
    designs_of,
    elements_left_out,
    promising,
)
from haloquant.jobs.codesign.front import Design, not_beaten
from haloquant.jobs.codesign.supplies import supplies_of
from haloquant.jobs.codesign.word_sets import WordSet
from haloquant.records import Corner
from haloquant.store.targets import read_systolic
from support.accel_cases import honest, toy_target
from support.draws import ALL
from support.machine_models import SHAPE
from support.near import near
from support.whole_elements import made_of

EIGHT = made_of(list(range(-128, 128)), 50e-12, 12)
FOUR = made_of(list(range(-8, 8)), 25e-12, 4)
WORDS = WordSet((-2, -1, 0, 1, 2), "five")
EVEN = np.full(5, 0.2)
PASSES = (prefill(SHAPE, 40), decode(SHAPE, 24))
SILICON = Silicon(honest(toy_target(rows=16, columns=16)), PASSES, 30000e-12, element_of(EIGHT), 2e-15)


def quick(name: str, area_m2: float, delay_s: float, energy_j: float):
    made = replace(made_of(list(range(-8, 8)), area_m2, 4), name=name)
    return replace(made, delay_s=np.full((1, 16), delay_s), energy_j=np.full((1, 16), energy_j))


def test_energies_of_lines_by_hand() -> None:
    """8 lines over 6 um of 1e-10 F/m at 0.8 V: C V^2 / 4 each; 2 fJ a register bit, shared by four columns."""
    said = {"activation_pins": "8", "activation_input_j": "1e-15", "multiples_j": "5e-14"}
    profile = replace(FOUR, provenance={**FOUR.provenance, **said}, corners=(Corner("tt", 0.8, 25.0),))
    element = replace(element_of(profile), area_m2=36e-12)
    lines = lines_of(element, 4, 2e-15, 1e-10)
    assert lines.activation_j == near(8 * 6e-6 * 1e-10 * 0.64 / 4 + 1e-15 + 8 * 2e-15 / 4)
    assert (lines.row_j, lines.load_j) == (5e-14, near(2 * 4 * 2e-15))
    work = SILICON.workloads[1]
    schedule = plan(work.gemms, {}, (SILICON.target.base,), SILICON.target.base, Policy.PANEL, 1e6, 1)
    found = line_energy_j(work, schedule, lines, 10, {})
    macs = sum(g.m * g.k * g.n * g.count for g in work.gemms)
    rows = sum(g.m * g.k * g.count * -(-g.n // 10) for g in work.gemms)
    assert found["activations"] == near(macs * lines.activation_j + rows * lines.row_j)


def test_a_corner_and_a_bus_make_designs_of_their_own() -> None:
    two = replace(
        FOUR, corners=(FOUR.corners[0], Corner("low", 0.5, 25.0)), delay_s=np.repeat(FOUR.delay_s, 2, 0),
        energy_j=np.repeat(FOUR.energy_j, 2, 0), sensitised_delay_s=np.repeat(FOUR.sensitised_delay_s, 2, 0),
        leakage_w=np.zeros(2),
    )  # fmt: skip
    found = designs_of(WORDS, 16, [two, made_of([-1, 0, 1], 5e-12, 2)], buses=(1, 4))
    assert [(d.element.profile.corners[0].name, d.bus) for d in found] == [
        (FOUR.corners[0].name, 1), (FOUR.corners[0].name, 4), ("low", 1), ("low", 4),
    ]  # fmt: skip
    assert found[1].element.area_m2 == near(found[0].element.area_m2 - 8e-12 * (1 - 1 / 4))


def test_a_profile_with_several_corners_is_not_lowered_by_a_law() -> None:
    two = replace(
        FOUR, corners=(FOUR.corners[0], Corner("low", 0.5, 25.0)), delay_s=np.repeat(FOUR.delay_s, 2, 0),
        energy_j=np.repeat(FOUR.energy_j, 2, 0), sensitised_delay_s=np.repeat(FOUR.sensitised_delay_s, 2, 0),
        leakage_w=np.zeros(2),
    )  # fmt: skip
    profiles = [two, EIGHT]
    found = at_supplies(designs_of(WORDS, 16, profiles, buses=(1,)), profiles, (1.0, 0.7))
    assert [(d.element.profile.name, d.supply) for d in found] == [
        (FOUR.name, 1.0), (FOUR.name, 1.0), (EIGHT.name, 1.0), (EIGHT.name, 0.7),
    ]  # fmt: skip


def test_a_design_at_a_lower_supply_is_slower_and_draws_less() -> None:
    """Delay 0.8 (0.65 / 0.45)^1.3 = 1.29; the switching of the arrays falls to 0.64, DRAM stays."""
    silicon = replace(SILICON, supplies=supplies_of(EIGHT, SILICON.target))
    (design,) = designs_of(WORDS, 16, [FOUR], buses=(1,))
    (whole, _), (low, _) = (cost_of(replace(design, supply=s), EVEN, silicon, 0.0) for s in (1.0, 0.8))
    assert 1.0 < low.time_s / whole.time_s <= 0.8 * (0.65 / 0.45) ** 1.3 + 1e-9
    assert 0.64 < low.energy_j / whole.energy_j < 1
    assert replace(design, supply=0.8).supply_v == near(0.8 * FOUR.corners[0].voltage_v)


@pytest.mark.slow
@pytest.mark.thinned
def test_leaving_out_beaten_designs_keeps_the_front() -> None:
    """Exhaustive over a small grid with supplies: the front is the same as with the designs that were left out."""
    random = np.random.default_rng(0)
    made = [
        quick(f"e{i}", float(a) * 1e-12, float(d) * 1e-12, float(e) * 1e-15)
        for i, (a, d, e) in enumerate(zip(*(random.uniform(20, 90, 12 if ALL else 5) for _ in range(3)), strict=True))
    ]
    shape = named_shape("opt-1.3b")
    large = replace(
        SILICON, target=read_systolic("edge_lpddr5x"), workloads=(prefill(shape, 512), decode(shape, 512)), area_m2=1e-6
    )
    supplies = supplies_of(EIGHT, large.target)
    large = replace(large, supplies=supplies)
    whole = designs_of(WORDS, 128, made, buses=(1, 4))
    every = at_supplies(whole, made, supplies.shares)
    few = at_supplies(promising(whole, EVEN, large), made, supplies.shares)
    assert 0 < len(few) < len(every) == 3 * len(whole)

    def front(designs: list[Design], phase: str) -> np.ndarray:
        costs = [cost for cost in costs_of_all(designs, lambda _: EVEN, large, 0.0) if cost.phase == phase]
        kept = not_beaten(costs, lambda c: (-c.tokens_per_s_mm2, c.token_j))
        return np.array([(cost.time_s, cost.energy_j) for cost in kept])

    for phase in ("prefill", "decode"):  # whole columns and folds make differences of less than a hundredth
        few_costs, every_cost = front(few, phase), front(every, phase)
        worse = (few_costs[None] / every_cost[:, None]).max(axis=2).min(axis=1)
        assert worse.max() < 1.01, phase


def test_costs_by_hand_and_an_area_that_no_element_fits() -> None:
    (design,) = designs_of(WORDS, 16, [FOUR], buses=(1,))
    first, second = cost_of(design, EVEN, SILICON, 0.0)
    assert (first.phase, second.phase, first.tokens) == ("prefill", "decode", 40)
    assert first.tokens_per_s_mm2 == near(40 / first.time_s / 0.03) and first.token_j == near(first.energy_j / 40)
    assert (code_bits(9), code_bits(10)) == (3.2, 4.0)
    small = replace(SILICON, area_m2=1e-12)
    assert elements_left_out([design], SILICON) == ()
    assert cost_of(design, EVEN, small, 0.0) == []
    with pytest.raises(InputError, match=r"^the area must be at least 0\.\d+ mm2, which one column .* not 1e-06 mm2$"):
        elements_left_out([design], small)


def test_elements_that_do_not_fit_by_hand() -> None:
    """A column of 16 takes 16 (25 + 8 + 8 or 0.5) + 7.16 x 82 um2, where the lower figure shares a register by 16.

    The 8-bit element takes 16 (50 + 24 + 8 or 0.5) + 8.16 x 82.
    """
    designs = designs_of(WordSet((0,), "0"), 16, [FOUR, EIGHT])
    beside = 3000 / 419 * 82
    (left,) = elements_left_out(designs, replace(SILICON, area_m2=1200e-12))
    assert (left.element, left.tile) == (EIGHT.name, 16)
    assert left.least_area_m2 == near((16 * 74.5 + 82 + beside) * 1e-12)
    assert 16 * 33.5 + beside < 1200 < 16 * 41 + beside  # the 4-bit element fits with shared registers alone


def test_sets_of_words_only_at_tile_sizes_where_their_element_fits() -> None:
    few, all_values = WordSet((-1, 0, 1), "few"), WordSet((-100, 0, 100), "wide")
    left = [
        LeftOutElement(EIGHT.name, 32, 1e-9),
        LeftOutElement(FOUR.name, 64, 1e-9),
        LeftOutElement(EIGHT.name, 64, 1e-9),
    ]
    found = choices_that_fit([few, all_values], [EIGHT, FOUR], (16, 32, 64), left)
    assert found == [(few, 16), (few, 32), (all_values, 16)]
