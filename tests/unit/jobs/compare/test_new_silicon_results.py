"""Equal area in the results of a job: the best element of each system, on the machines whose clocks an element sets."""

from dataclasses import replace

import pytest

from haloquant.accel.elements import element_of
from haloquant.accel.workload.prefill_decode import decode, prefill
from haloquant.jobs.compare import new_silicon_results as module
from haloquant.jobs.compare.new_silicon_results import new_silicon_results
from haloquant.jobs.machines.new_silicon import compare_on_new_silicon
from haloquant.jobs.machines.systems import halo_system
from haloquant.report.tables import new_silicon_table
from support.accel_cases import honest, toy_target
from support.machine_models import LOADED, SHAPE
from support.whole_elements import made_of

ELEMENTS = [element_of(made_of(list(range(-128, 128)), 50e-12, 12)), element_of(made_of(list(range(-8, 8)), 25e-12, 4))]
TARGET = honest(toy_target(rows=16, columns=16))
PASSES = (prefill(SHAPE, 40), decode(SHAPE, 24))
TILES = halo_system(LOADED, PASSES[0], TARGET).layer_tiles


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "known_elements", lambda profile: ELEMENTS)


def test_rows_are_the_best_runs_of_the_comparison() -> None:
    claimed = replace(TARGET, name="claims", array=replace(TARGET.array, claimed_clocks=True))
    (found,) = new_silicon_results("halo-bal", SHAPE, TILES, PASSES, [claimed, TARGET], LOADED.classes)
    whole = compare_on_new_silicon(replace(LOADED, tiles=TILES), PASSES, TARGET, ELEMENTS)
    wanted = {(run.phase, run.system): (run.element, run.time_s, run.energy_j) for run in whole.runs if run.best}
    assert {(r.phase, r.system): (r.element, r.time_s, r.energy_j) for r in found.rows} == wanted
    assert [row.system for row in found.rows][-1] == "HALO" and found.rows[0].phase == "prefill"
    assert (found.target, found.method, found.area_mm2) == (TARGET.name, "halo-bal", whole.area_m2 * 1e6)


def test_a_system_that_does_not_fit_is_listed_and_the_others_are_compared() -> None:
    """Two columns of the plain element have the area of no column of FP16's, 7.2 times as large."""
    small = honest(toy_target(rows=16, columns=2))
    (found,) = new_silicon_results("halo-bal", SHAPE, TILES, PASSES, [small], LOADED.classes)
    assert {row.system for row in found.rows} == {"W8A8", "W4A8", "W3A8", "HALO"}
    (left,) = found.left_out
    assert (left.system, left.element, left.whole_system) == ("FP16", "cited, 7.2 x of256", True)
    assert left.least_area_mm2 > found.area_mm2 and found.notes[-1].startswith("new silicon leaves FP16 out")
    *others, last = new_silicon_table(found).rows
    assert [row.cells[0] for row in others] == [row.system for row in found.rows]
    assert (last.cells[0], last.cells[3]) == ("FP16", "0") and last.cells[-1].startswith("left out: one column in each")


def test_arrays_that_nothing_fits_say_so_and_stop_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    large = [replace(element, row_area_m2=1.0) for element in ELEMENTS]
    monkeypatch.setattr(module, "known_elements", lambda profile: large)
    (found,) = new_silicon_results("halo-bal", SHAPE, TILES, PASSES, [TARGET], LOADED.classes)
    assert found.rows == [] and found.notes[0].startswith("no comparison: the area must be at least")


def test_a_library_without_a_whole_8_bit_element_has_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "known_elements", lambda profile: ELEMENTS[1:])
    assert new_silicon_results("halo-bal", SHAPE, TILES, PASSES, [TARGET], LOADED.classes) == []
    assert new_silicon_results("fp16", SHAPE, {}, PASSES, [TARGET], LOADED.classes) == []
