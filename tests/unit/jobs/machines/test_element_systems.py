"""Which elements and systems are compared at equal area."""

from dataclasses import replace

from haloquant.accel.elements import element_of
from haloquant.accel.workload.prefill_decode import decode
from haloquant.jobs.machines.element_systems import shown_profiles, systems_on
from haloquant.jobs.machines.new_silicon import compare_on_new_silicon
from support.accel_cases import honest, toy_profile, toy_target
from support.machine_models import LOADED, SHAPE
from support.whole_elements import made_of

EIGHT = made_of(list(range(-128, 128)), 50e-12, 12)
FOUR = made_of(list(range(-8, 8)), 25e-12, 4)
POWERS = made_of([-8, -4, -2, -1, 0, 1, 2, 4, 8], 15e-12, 5)
TARGET = honest(toy_target(rows=16, columns=16))
PASSES = (decode(SHAPE, 24),)


def test_an_element_runs_the_systems_whose_words_it_holds() -> None:
    names = [[system.name for system in systems_on(LOADED, element_of(each))] for each in (EIGHT, FOUR, POWERS)]
    assert names == [["W8A8", "W4A8", "W3A8", "HALO"], ["W4A8", "W3A8"], ["9 words only"]]


def test_an_element_that_another_one_beats_is_left_out() -> None:
    worse = replace(EIGHT, name="worse", area_m2=2 * EIGHT.area_m2, energy_j=2 * EIGHT.energy_j)
    found = compare_on_new_silicon(LOADED, PASSES, TARGET, [element_of(EIGHT), element_of(worse)])
    assert {run.element for run in found.runs if run.system != "FP16"} == {EIGHT.name}
    # A smaller 4-bit element with less energy takes two passes for attention, so the 8-bit one is still run.
    found = compare_on_new_silicon(LOADED, PASSES, TARGET, [element_of(each) for each in (EIGHT, FOUR)])
    assert {run.element for run in found.runs if run.system == "W4A8"} == {EIGHT.name, FOUR.name}


def test_elements_of_the_given_library_and_those_named() -> None:
    lib = {"library": "lib"}
    given = replace(toy_profile(), provenance=lib)
    alike = replace(EIGHT, name="alike", provenance={**EIGHT.provenance, **lib})
    known = {"alike": alike, "other": replace(alike, name="other", provenance=EIGHT.provenance), "toy": given}
    named = replace(FOUR, name="mine")
    assert [each.name for each in shown_profiles(given, known, [named])] == ["alike", "mine"]
    again = replace(named, name="alike")  # as `characterize` calls the same MAC after another search
    assert [each.area_m2 for each in shown_profiles(given, known, [again])] == [again.area_m2]
