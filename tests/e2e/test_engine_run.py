"""A whole job's methods as tasks: every file of its folder is that of one process."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.jobs.compare import job
from haloquant.jobs.compare.method_tasks import MethodTask, method_files
from haloquant.jobs.engine.session import InProcess
from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.inputs import silent
from haloquant.recipe import read_recipe
from haloquant.store.atomic_files import LOCK
from support.engine_jobs import METHODS, assert_same, undrawn
from support.small_job import files_of


def test_tasks_make_the_same_files_and_are_no_reused_steps(
    job_alone: dict[str, bytes], small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: what a pool and a cluster add is tested with layers and in test_engine_ray.py."""
    monkeypatch.setattr(job, "open_session", lambda *_: nullcontext(InProcess()))
    seen: list[tuple[str, int, int]] = []
    out = tmp_path / "out"
    for left in ("statistics-1-0123456789ab", "states-quantize-2-0123456789ab"):  # of a stopped job with other settings
        (out / "steps" / left).mkdir(parents=True)
        (out / "steps" / left / "manifest.json").write_text("{}")
    (out / LOCK).touch()
    with undrawn():
        done = job.run(read_recipe(small_recipe), out, lambda *said: seen.append(said), Engine(workers=2))
    assert done.reused == ()
    assert [(d, n) for task, d, n in seen if task == "methods"] == [(k, METHODS) for k in range(1, METHODS + 1)]
    assert_same(files_of(out), job_alone)
    with undrawn():
        again = job.run(read_recipe(small_recipe), out, silent, Engine(workers=2))
    assert len(again.reused) > METHODS
    assert_same(files_of(out), job_alone)


def test_a_worker_that_sees_another_folder_is_refused(small_recipe: Path, tmp_path: Path) -> None:
    task = MethodTask(read_recipe(small_recipe), tmp_path, tmp_path / "out", ("classes-0123",), "", "fp16")
    with pytest.raises(
        InputError, match=r"out must be seen by every worker, and one finds no steps/classes-0123 in it"
    ):
        method_files(task, {})


def test_a_worker_with_another_model_or_other_packages_is_refused(small_recipe: Path, tmp_path: Path) -> None:
    task = MethodTask(read_recipe(small_recipe), tmp_path, tmp_path / "out", (), "of another model", "fp16")
    with pytest.raises(
        InputError,
        match=r"every worker must see the model, the texts and the MAC that the job was begun with, and have",
    ):
        method_files(task, {})
    assert not (tmp_path / "out").exists()


def test_a_wrong_engine_is_refused_before_any_work(small_recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", str(small_recipe), "--engine", "dask", "--validate"]) == 2
    assert "the engine must be local, ray or ray=ADDRESS, not 'dask'" in " ".join(capfd.readouterr().err.split())


def test_the_command_line_names_the_engine(small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Engine] = []

    def run(*given: object) -> None:
        seen.extend(each for each in given if isinstance(each, Engine))
        raise InputError("that is all")

    monkeypatch.setattr(job, "run", run)
    asked = ["run", str(small_recipe), "--out", str(tmp_path / "out"), "-q"]
    asked += ["--engine", "ray=head:6379", "--workers", "3"]
    assert invoke(asked) == 2
    assert seen == [Engine("ray", 3, "head:6379")]


def test_a_machine_that_is_not_there_is_refused_before_any_work(
    small_recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(small_recipe.read_text().replace("edge_lpddr5x", "nowhere"))
    assert invoke(["run", str(wrong), "--out", str(tmp_path / "out"), "-q"]) == 2
    assert "nowhere" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
