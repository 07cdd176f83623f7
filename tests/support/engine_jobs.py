"""Small jobs on an engine whose worker is killed on the way, held to what one process makes."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from haloquant.jobs.compare import job
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine
from haloquant.jobs.quantize.job import quantize_checkpoint
from haloquant.jobs.quantize.request import Request
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.recipe import Hardware, Recipe, read_recipe
from haloquant.store.profiles import find_profile
from support.small_job import files_of

METHODS = 7  # full precision, two references, one rival, three goals
Workers = Callable[[], list[int]]


def layers_request(model: Path, text: Path) -> Request:
    from haloquant.jobs.inputs import read_text
    from haloquant.lm.calibration.in_memory import cut_windows

    windows = cut_windows(read_text(model, str(text), "calibration").tokens, 32, 10)  # three shards, the last not full
    return Request(find_profile("default"), "bal", Recipe(hardware=Hardware(tile=32)), windows, "test")


def quantize_and_kill(engine: Engine, workers: Workers, alone: Path, model: Path, text: Path, folder: Path) -> None:
    """Quantize into `folder`, kill a worker after two layers, and compare with what one process made: `alone`."""
    killed: list[int] = []
    seen: list[tuple[str, int, int]] = []

    def tell(task: str, done: int, total: int) -> None:
        seen.append((task, done, total))
        if task in ("measure tiles", "quantize") and done >= 2 and not killed:
            for process in workers()[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    out = folder / "out"
    done = quantize_checkpoint(open_checkpoint(model), layers_request(model, text), out, tell, engine)
    assert killed
    assert done.reused == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in alone.iterdir())
    for file in alone.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert [p.name for p in folder.iterdir()] == ["out"]
    layers = done.layers
    for task in ("measure tiles", "quantize"):  # each layer was counted once, in one bar
        assert [d for t, d, _ in seen if t == task] == list(range(1, layers + 1))
    assert [(d, n) for t, d, n in seen if t == "calibrate to measure tiles"] == [(1, 2), (2, 2)]
    assert [(d, n) for t, d, n in seen if t == "read statistics to quantize"] == [(1, 2), (2, 2)]


@contextmanager
def undrawn() -> Iterator[None]:
    """No report: the process that was started draws it on every engine, and it takes most of a small job's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "write_report", lambda *_: None)
        yield


def run_and_kill(engine: Engine, workers: Workers, alone: dict[str, bytes], recipe: Path, folder: Path) -> None:
    """Run the whole job, kill a worker after the first method, and compare every file with those of one process."""
    killed: list[int] = []
    seen: list[int] = []

    def tell(task: str, done: int, total: int) -> None:
        if task != "methods":
            return
        seen.append(done)
        if not killed:
            for process in workers()[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    with undrawn():
        job.run(read_recipe(recipe), folder / "out", tell, engine)
    assert killed
    assert seen == list(range(1, METHODS + 1))
    assert_same(files_of(folder / "out"), alone)


def assert_same(made: dict[str, bytes], alone: dict[str, bytes]) -> None:
    assert sorted(made) == sorted(alone)
    assert [name for name, data in alone.items() if made[name] != data] == []


def layers_of_one_process(model: Path, text: Path, out: Path) -> Path:
    quantize_checkpoint(open_checkpoint(model), layers_request(model, text), out, engine=THIS_PROCESS)
    return out


def job_of_one_process(recipe: Path, out: Path) -> dict[str, bytes]:
    with undrawn():
        job.run(read_recipe(recipe), out)
    return files_of(out)
