"""Temporary names: one for each use, swept when their process is dead and not before."""

import subprocess
import sys
from pathlib import Path

from haloquant.store.temporary_paths import remove_all_leftovers, remove_folder, remove_leftovers, temporary_path

PRINT_PATH = (
    "import sys, pathlib; from haloquant.store.temporary_paths import temporary_path; "
    "print(temporary_path(pathlib.Path(sys.argv[1])).name)"
)


def test_leftovers_of_dead_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".report.html.{dead.pid}.tmp").touch()
    (tmp_path / f".step-1.{dead.pid}.tmp").mkdir()
    kept = [temporary_path(tmp_path / "results.json").name, f"notes.{dead.pid}.tmp", ".haloquant.lock"]
    kept.append(temporary_path(tmp_path / "mine").name)
    for name in kept:
        (tmp_path / name).touch()
    remove_all_leftovers(tmp_path)
    remove_all_leftovers(tmp_path / "not there")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)


def test_the_path_of_a_dead_process_is_swept_with_that_of_its_target(tmp_path: Path) -> None:
    name = subprocess.run(
        [sys.executable, "-c", PRINT_PATH, str(tmp_path / "step")], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / name).mkdir()
    remove_leftovers(tmp_path / "other")
    assert (tmp_path / name).is_dir()
    remove_leftovers(tmp_path / "step")
    assert not (tmp_path / name).exists()


def test_a_dead_process_with_the_number_of_this_one_is_no_obstacle(tmp_path: Path) -> None:
    mine = temporary_path(tmp_path / "step")
    parts = mine.name.split("-")
    mine.with_name("-".join([*parts[:2], "0" * 8, *parts[3:]])).mkdir()  # as after a container was started again
    mine.mkdir()
    remove_leftovers(tmp_path / "step")
    assert list(tmp_path.iterdir()) == [mine]


def test_the_paths_of_another_machine_are_left_to_the_sole_user_of_the_folder(tmp_path: Path) -> None:
    mine = temporary_path(tmp_path / "step")
    parts = mine.name.split("-")
    other = mine.with_name("-".join([parts[0], "0" * 8, *parts[2:]]))
    other.mkdir()
    remove_leftovers(tmp_path / "step")
    assert other.is_dir()
    remove_all_leftovers(tmp_path)
    assert not other.exists()


def test_every_use_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert len({temporary_path(tmp_path / "a") for _ in range(100)}) == 100


def test_a_folder_is_removed_whole_and_its_absence_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    (folder / "inner").mkdir(parents=True)
    remove_folder(folder)
    remove_folder(folder)
    assert list(tmp_path.iterdir()) == []
