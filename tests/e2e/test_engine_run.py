"""A whole job's methods as tasks: every file of its folder is that of one process."""

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from haloquant.cli.app import invoke
from haloquant.errors import InputError
from haloquant.jobs.compare import job, method_tasks
from haloquant.jobs.compare.method_tasks import MethodTask, method_files
from haloquant.jobs.engine.session import InProcess
from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.inputs import silent
from haloquant.recipe import read_recipe
from support.small_job import files_of, save_recipe
from support.workers import ray_workers

pytestmark = pytest.mark.timeout(900)  # workers import torch each, and a machine may be busy with other things
METHODS = 7  # full precision, two references, one rival, three goals


@pytest.fixture(autouse=True, scope="module")
def undrawn() -> Iterator[None]:
    """The report is drawn by the process that was started, whatever the engine; it takes most of a small job's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def recipe(tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recipe(tmp_path_factory.mktemp("recipe") / "recipe.toml", tiny_folder, small_text)


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    job.run(read_recipe(recipe), out)
    return files_of(out)


def same(made: dict[str, bytes], alone: dict[str, bytes]) -> None:
    assert sorted(made) == sorted(alone)
    assert [name for name, data in alone.items() if made[name] != data] == []


def test_tasks_make_the_same_files_and_are_no_reused_steps(
    alone: dict[str, bytes], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: what a pool and a cluster add is tested below, and with layers."""
    monkeypatch.setattr(method_tasks, "open_session", lambda _: nullcontext(InProcess()))
    seen: list[tuple[str, int, int]] = []
    out = tmp_path / "out"
    done = job.run(read_recipe(recipe), out, lambda *said: seen.append(said), Engine(workers=2))
    assert done.reused == ()
    assert [(d, n) for task, d, n in seen if task == "methods"] == [(k, METHODS) for k in range(1, METHODS + 1)]
    same(files_of(out), alone)
    again = job.run(read_recipe(recipe), out, silent, Engine(workers=2))
    assert len(again.reused) > METHODS
    same(files_of(out), alone)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_cluster_makes_the_same_files_though_a_worker_is_killed(
    alone: dict[str, bytes], recipe: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    killed: list[int] = []
    seen: list[int] = []

    def tell(task: str, done: int, total: int) -> None:
        if task != "methods":
            return
        seen.append(done)
        if not killed:
            for process in ray_workers()[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    job.run(read_recipe(recipe), tmp_path / "out", tell, Engine("ray", 2))
    assert killed
    assert seen == list(range(1, METHODS + 1))
    same(files_of(tmp_path / "out"), alone)


def test_a_worker_that_sees_another_folder_is_refused(recipe: Path, tmp_path: Path) -> None:
    task = MethodTask(read_recipe(recipe), tmp_path, tmp_path / "out", ("classes-0123",), "", "fp16")
    with pytest.raises(
        InputError, match=r"out must be seen by every worker, and one finds no steps/classes-0123 in it"
    ):
        method_files(task, {})


def test_a_worker_with_another_model_or_other_packages_is_refused(recipe: Path, tmp_path: Path) -> None:
    task = MethodTask(read_recipe(recipe), tmp_path, tmp_path / "out", (), "of another model", "fp16")
    with pytest.raises(
        InputError,
        match=r"every worker must see the model, the texts and the MAC that the job was begun with, and have",
    ):
        method_files(task, {})
    assert not (tmp_path / "out").exists()


def test_a_wrong_engine_is_refused_before_any_work(recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["run", str(recipe), "--engine", "dask", "--validate"]) == 2
    assert "the engine must be local, ray or ray=ADDRESS, not 'dask'" in " ".join(capfd.readouterr().err.split())


def test_the_command_line_names_the_engine(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Engine] = []

    def run(*given: object) -> None:
        assert isinstance(given[-1], Engine)
        seen.append(given[-1])
        raise InputError("that is all")

    monkeypatch.setattr(job, "run", run)
    asked = ["run", str(recipe), "--out", str(tmp_path / "out"), "--engine", "ray=head:6379", "--workers", "3", "-q"]
    assert invoke(asked) == 2
    assert seen == [Engine("ray", 3, "head:6379")]


def test_a_machine_that_is_not_there_is_refused_before_any_work(
    recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(recipe.read_text().replace("edge_lpddr5x", "nowhere"))
    assert invoke(["run", str(wrong), "--out", str(tmp_path / "out"), "-q"]) == 2
    assert "nowhere" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
