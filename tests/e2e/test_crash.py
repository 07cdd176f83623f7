"""Killed at any moment, a quantization or a whole job ends byte-identical to one that was left alone."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haloquant.cli.app import invoke
from haloquant.store.atomic_files import LOCK
from support.small_job import files_of, save_recipe_of_one_goal

RUNNER = Path(__file__).resolve().parents[1] / "support" / "crash_runner.py"
KILLS = int(os.environ.get("HALOQUANT_TEST_KILLS", "50"))
EDGES = KILLS // 5  # more of them, at operations on files


def kill(command: str, source: Path, folder: Path, kills: int = KILLS, edges: int = EDGES) -> None:
    """Let the runner do it, and hold it to the number of kills."""
    asked = [sys.executable, str(RUNNER), command, str(source), str(folder)]
    asked += ["--kills", str(kills), "--edges", str(edges)]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["hit"], said["edges"]) == (kills, edges)


@pytest.mark.timeout(280 + 15 * KILLS)
def test_killed_fifty_times_it_ends_with_the_same_bytes(one_block_folder: Path, tmp_path: Path) -> None:
    kill("quantize", one_block_folder, tmp_path)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())
    for file in whole.iterdir():
        assert (killed / file.name).read_bytes() == file.read_bytes(), file.name
    # Nothing of the work is left beside a whole model, and no temporary name of any kind.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "whole"]


def test_what_a_run_left_that_was_killed_after_its_model_was_whole_is_removed(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, work = tmp_path / "out", tmp_path / "out.work"
    doomed = [tmp_path / f".{folder.name}.999999999.tmp" for folder in (out, work)]
    asked = ["quantize", str(tiny_folder), "--out", str(out), "--calibration", "none", "--tile", "32", "-q"]
    assert invoke(asked) == 0
    before = files_of(out)
    for left in (folder / "steps" for folder in (work, *doomed)):
        left.mkdir(parents=True)
        (left / "layer").write_text("work")
    assert invoke(asked) == 2
    assert [p.name for p in tmp_path.iterdir() if p != out] == ["out.work"]  # no run of ours has claimed it
    (work / LOCK).touch()
    assert invoke(asked) == 2
    assert "must be empty or not exist yet, and it holds files" in " ".join(capfd.readouterr().err.split())
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert files_of(out) == before
    (out / "halo_manifest.json").unlink()  # then it is no model of ours, and the work beside it is kept
    work.mkdir()
    (work / LOCK).touch()
    assert invoke(asked) == 2
    assert work.is_dir()


def test_a_folder_of_a_killed_process_of_the_same_number_is_no_obstacle(tiny_folder: Path, tmp_path: Path) -> None:
    out, doomed = tmp_path / "out", tmp_path / f".out.{os.getpid()}.tmp"
    (doomed / "steps").mkdir(parents=True)
    assert invoke(["quantize", str(tiny_folder), "--out", str(out), "--calibration", "none", "--tile", "32", "-q"]) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.timeout(280 + 15 * KILLS)
def test_a_killed_job_ends_with_the_same_bytes(one_block_folder: Path, small_text: Path, tmp_path: Path) -> None:
    """Every file of the output folder: results, report, figures, packed model, steps. None holds a time or a date."""
    recipe = save_recipe_of_one_goal(tmp_path / "recipe.toml", one_block_folder, small_text)
    kill("run", recipe, tmp_path, KILLS // 8, EDGES // 2)  # each costs more than a kill of a quantization
    whole, killed = files_of(tmp_path / "whole"), files_of(tmp_path / "killed")
    assert {"results.json", "results.md", "report.html"} <= whole.keys()
    assert sorted(killed) == sorted(whole)  # and so no temporary name is left
    assert [name for name, data in whole.items() if killed[name] != data] == []
    assert (tmp_path / "killed" / "model").readlink() == (tmp_path / "whole" / "model").readlink()


@contextmanager
def files_up_to(limit_b: int) -> Iterator[None]:
    """Let no file of this process grow beyond a limit: a write fails as on a full disk, with EFBIG for ENOSPC."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_b, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_file_that_cannot_grow_leaves_no_half_model(
    tiny_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python 3.11 keeps bytecode that the limit cut off, and every later import of the module would fail.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    out = tmp_path / "out"

    def quantize(folder: Path) -> int:
        return invoke(["quantize", str(tiny_folder), "--out", str(folder), "--calibration", "none", "-q"])

    assert quantize(tmp_path / "first") == 0  # fills numba's cache, whose files are larger than the limit
    with files_up_to(20_000):
        assert quantize(out) == 7
    said = " ".join(capfd.readouterr().err.split())
    assert "the system refused to read or write: " in said and "Traceback" not in said
    assert not out.exists()
    assert quantize(out) == 0
    assert files_of(out) == files_of(tmp_path / "first")
