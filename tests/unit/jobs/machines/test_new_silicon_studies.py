"""Claims and sweeps at equal area: the same numbers as the comparison in new silicon."""

from dataclasses import replace

import pytest

from haloquant.accel.elements import element_of
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.jobs.machines import new_silicon_studies
from haloquant.jobs.machines.new_silicon import compare_on_new_silicon
from haloquant.jobs.machines.new_silicon_studies import best_runs, elements_for, reasons_left_out, whole_simulation
from haloquant.jobs.machines.sweeps import paper_claims, sweep_systems
from haloquant.store.profiles import find_profile
from haloquant.store.targets import read_systolic
from support.accel_cases import toy_profile
from support.machine_models import LOADED, SHAPE
from support.near import near
from support.whole_elements import made_of

EIGHT = element_of(made_of(list(range(-128, 128)), 50e-12, 12))
FOUR = element_of(made_of(list(range(-8, 8)), 25e-12, 4))
EDGE = read_systolic("edge_lpddr5x")


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_silicon_studies, "known_elements", lambda profile: [EIGHT, FOUR])


def test_elements_are_those_of_the_macs_library_on_a_machine_without_claimed_clocks() -> None:
    default = find_profile("default")
    assert {"asap7-digitsdadda-cs4-abc"} <= {element.profile.name for element in elements_for(default, EDGE)}
    assert elements_for(default, read_systolic("paper_tpu")) == [] == elements_for(toy_profile(), EDGE)


def test_claims_at_equal_area_are_those_of_the_comparison(known: None) -> None:
    found = paper_claims(LOADED, read_systolic("paper_tpu"), EDGE, 64, 64, 1)
    whole = compare_on_new_silicon(LOADED, (prefill(SHAPE, 64), decode(SHAPE, 64)), EDGE, [EIGHT, FOUR])
    best = {(run.phase, run.system): run for run in whole.runs if run.best}
    assert len(found) == 8
    for claim in found:
        new = claim.new_silicon
        assert new and new.rival == claim.described.rival.split()[0] and new.phase == claim.described.phase
        ours, rival = best[new.phase, "HALO"], best[new.phase, new.rival]
        assert new.speedup == near(rival.time_s / ours.time_s)
        assert new.energy_ratio == near(rival.energy_j / ours.energy_j)
        assert rival.element in new.why and ours.element in new.why


def test_sweeps_hold_both_premises(known: None) -> None:
    step = decode(SHAPE, 64)
    found = sweep_systems(LOADED, step, EDGE, "bandwidth")
    names = list(dict.fromkeys(item.system for item in found))
    assert names[3:] == ["HALO in new silicon", "W8A8 in new silicon", "W4A8 in new silicon"]
    own = [item.point for item in found if item.system == names[5] and item.point.value == EDGE.dram.bandwidth_b_per_s]
    run = best_runs(LOADED, step, EDGE, [EIGHT, FOUR], ["W4A8"])["W4A8"]
    assert own[0].simulation.time_s == run.time_s
    assert (
        own[0].simulation.total.total_energy_j == near(run.energy_j) == near(whole_simulation(run).total.total_energy_j)
    )
    assert own[0].simulation.system == names[5]


def test_arrays_too_small_for_a_column_have_no_row(known: None) -> None:
    tiny = replace(EDGE, array=replace(EDGE.array, columns=1))
    huge = [replace(EIGHT, row_area_m2=EIGHT.area_m2)]
    assert best_runs(LOADED, decode(SHAPE, 64), tiny, huge, ["HALO"]) == {}
    (why,) = reasons_left_out(LOADED, tiny, huge, ["HALO"])
    assert why.startswith("no comparison in new silicon: the area must be at least")
    assert reasons_left_out(LOADED, tiny, [], ["HALO"]) == ()


def test_claims_and_sweeps_go_on_without_a_rival_that_does_not_fit(known: None) -> None:
    small = replace(EDGE, array=replace(EDGE.array, columns=2))  # FP16 needs more than seven
    found = paper_claims(LOADED, read_systolic("paper_tpu"), small, 64, 64, 1)
    assert [claim.described.rival.split()[0] for claim in found if claim.new_silicon is None] == ["FP16", "FP16"]
    (why,) = reasons_left_out(LOADED, small, [EIGHT, FOUR], ("HALO", "FP16", "W8A8"))
    assert why.startswith("new silicon leaves FP16 out: on cited, 7.2 x of256")
    one = replace(EDGE, array=replace(EDGE.array, columns=1))  # HALO has a scaling unit beside the column
    names = {item.system for item in sweep_systems(LOADED, decode(SHAPE, 64), one, "static")}
    assert {"W8A8 in new silicon", "W4A8 in new silicon"} <= names and "HALO in new silicon" not in names
