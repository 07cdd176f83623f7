"""What docs/stages/codesign.md says of the hardware: Llama-2-7B's prefill on 1.12 mm2, words of Gaussian weights."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from haloquant.accel.elements import element_of
from haloquant.accel.workload.model_shapes import named_shape
from haloquant.accel.workload.prefill_decode import prefill
from haloquant.accel.workload.synthetic_tiles import gaussian_frequency
from haloquant.jobs.codesign.array_cost import Silicon, at_supplies, cost_of, designs_of, promising
from haloquant.jobs.codesign.front import DesignCost
from haloquant.jobs.codesign.library_elements import library_elements
from haloquant.jobs.codesign.supplies import supplies_of
from haloquant.jobs.codesign.word_sets import NAMED, WordSet
from haloquant.jobs.machines.new_silicon import own_area_m2, plain_element
from haloquant.records import MacProfile
from haloquant.store.targets import read_systolic
from support.near import near

PROFILES = library_elements("asap7")
REGISTER_J = 2.4928e-15
SILICON = Silicon(
    read_systolic("edge_lpddr5x"), (prefill(named_shape("llama2-7b"), 2048),), 1.12e-6,
    plain_element([element_of(profile) for profile in PROFILES]), REGISTER_J,
)  # fmt: skip


def best(name: str, tile: int, profiles: Sequence[MacProfile] = PROFILES, silicon: Silicon = SILICON) -> DesignCost:
    words = WordSet(NAMED[name], name)
    frequency = gaussian_frequency(np.array(words.words, np.int16))
    found = promising(designs_of(words, tile, profiles), frequency, silicon)
    return min((cost for d in found for cost in cost_of(d, frequency, silicon, 0.0)), key=lambda c: c.energy_time)


@pytest.fixture(scope="module")
def int4() -> DesignCost:
    return best("INT4", 256)


def test_the_best_int4_design(int4: DesignCost) -> None:
    assert int4.design.element.profile.name == "asap7-booth4x8c4-dot-abc" and int4.design.bus == 16
    assert (int4.time_s, int4.energy_j, int4.columns) == (near(0.310, abs=5e-4), near(3.12, abs=5e-3), 191)


def test_the_best_supply_of_that_design(int4: DesignCost) -> None:
    design, frequency = int4.design, gaussian_frequency(np.array(int4.design.words.words, np.int16))
    silicon = replace(SILICON, supplies=supplies_of(SILICON.plain.profile, SILICON.target))
    costs = [cost_of(d, frequency, silicon, 0.0)[0] for d in at_supplies([design], PROFILES, (1.0, 0.9, 0.8, 0.7, 0.6))]
    low = min(costs, key=lambda c: c.energy_time)
    assert (low.design.supply, low.time_s, low.energy_j) == (0.8, near(0.374, abs=5e-4), near(2.45, abs=5e-3))
    assert costs[0].energy_time == near(int4.energy_time)


@pytest.mark.slow
def test_other_words_over_int4(int4: DesignCost) -> None:
    for name, gain in (("E2M1", 0.95), ("powers of two, 9", 1.11), ("INT3", 1.10)):
        assert int4.energy_time / best(name, 256).energy_time == near(gain, abs=0.006), name


def test_a_product_that_draws_nothing_would_gain_a_third(int4: DesignCost) -> None:
    design = int4.design
    profile = design.element.profile
    free = replace(design.element, profile=replace(profile, energy_j=profile.energy_j * 1e-9))
    frequency = gaussian_frequency(np.array(design.words.words, np.int16))
    (cost,) = cost_of(replace(design, element=free), frequency, SILICON, 0.0)
    assert int4.energy_time / cost.energy_time == near(1.33, abs=0.006)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "element", "seconds", "joules", "gains"),
    [
        ("nangate45", "nangate45-int4mx8c4-dot-abc", 0.304, 10.2, (0.98, 1.21, 1.11)),
        ("sky130hd", "sky130hd-booth4x8c4-dot-abc", 0.318, 35.9, (1.01, 1.28, 1.15)),
    ],
)
def test_the_other_libraries(
    library: str, element: str, seconds: float, joules: float, gains: tuple[float, ...]
) -> None:
    profiles = library_elements(library)
    plain = plain_element([element_of(profile) for profile in profiles])
    register_j = float(next(p.provenance["activation_register_j"] for p in profiles if "products" in p.provenance))
    silicon = replace(SILICON, area_m2=own_area_m2(SILICON.target, plain), plain=plain, register_j=register_j)
    first = best("INT4", 256, profiles, silicon)
    assert first.design.element.profile.name == element
    assert (first.time_s, first.energy_j) == (near(seconds, abs=6e-4), near(joules, abs=0.06))
    for name, gain in zip(("E2M1", "powers of two, 9", "INT3"), gains, strict=True):
        assert first.energy_time / best(name, 256, profiles, silicon).energy_time == near(gain, abs=0.006), name
