"""RAPL's counters as Linux shows them, in a folder made here."""

from pathlib import Path

import pytest

from haloquant.jobs.energy_counters import gpu_counters, names_of, processor_counters


def domain(root: Path, folder: str, name: str, energy: str) -> Path:
    made = root / folder
    made.mkdir()
    for file, text in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", "1000000000")):
        (made / file).write_text(text + "\n")
    return made / "energy_uj"


def test_packages_are_read_and_a_counter_that_began_again_is_understood(tmp_path: Path) -> None:
    energy = domain(tmp_path, "intel-rapl:0", "package-0", "999000000")
    domain(tmp_path, "intel-rapl:0:0", "core", "5")  # a part of the package
    domain(tmp_path, "intel-rapl:1", "psys", "7")  # not a package
    domain(tmp_path, "intel-rapl:2", "package-1", "not a number")
    (counter,) = processor_counters(tmp_path)
    assert names_of([counter]) == "RAPL package-0"
    before = counter.read()
    assert before == pytest.approx(999.0)
    energy.write_text("999500000\n")
    assert counter.since(before) == pytest.approx(0.5)
    energy.write_text("2000000\n")  # it began again at 1000 J
    assert counter.since(before) == pytest.approx(3.0)


def test_without_counters_there_are_none(tmp_path: Path) -> None:
    assert processor_counters(tmp_path / "nothing") == ()
    assert isinstance(gpu_counters(99), tuple)
