"""Layers and calibration shards as tasks: the same bytes on every engine, and a lost worker loses no work."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.quantize.job import quantize_checkpoint
from haloquant.jobs.quantize.request import Request
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.recipe import Hardware, Recipe
from haloquant.store.profiles import find_profile
from support.workers import children, ray_workers


def asked(model: Path, text: Path) -> Request:
    from haloquant.jobs.inputs import read_text
    from haloquant.lm.calibration.in_memory import cut_windows

    windows = cut_windows(read_text(model, str(text), "calibration").tokens, 32, 10)  # three shards, the last not full
    return Request(find_profile("default"), "bal", Recipe(hardware=Hardware(tile=32)), windows, "test")


@pytest.fixture(scope="module")
def alone(tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone") / "out"
    quantize_checkpoint(open_checkpoint(tiny_folder), asked(tiny_folder, small_text), out)
    return out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("kind", "workers"), [("local", children), ("ray", ray_workers)])
def test_the_bytes_are_those_of_one_process_though_a_worker_is_killed(
    kind: str, workers: Callable[[], list[int]], alone: Path, tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    if kind == "ray":
        pytest.importorskip("ray")
    killed: list[int] = []
    seen: list[tuple[str, int, int]] = []

    def tell(task: str, done: int, total: int) -> None:
        seen.append((task, done, total))
        if task in ("measure tiles", "quantize") and done >= 2 and not killed:
            for process in workers()[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    out = tmp_path / "out"
    engine = Engine("ray" if kind == "ray" else "local", 2)
    done = quantize_checkpoint(open_checkpoint(tiny_folder), asked(tiny_folder, small_text), out, tell, engine)
    assert killed
    assert done.reused == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in alone.iterdir())
    for file in alone.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    layers = done.layers
    for task in ("measure tiles", "quantize"):  # each layer was counted once, in one bar
        assert [d for t, d, _ in seen if t == task] == list(range(1, layers + 1))
    assert [(d, n) for t, d, n in seen if t == "calibrate to quantize"] == [(1, 2), (2, 2)]


class Stopped(Exception):
    pass


def test_a_stopped_calibrated_run_goes_on_from_the_block_it_was_in(
    alone: Path, tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    seen: list[tuple[str, int]] = []

    def stop(task: str, done: int, total: int) -> None:
        if (task, done) == ("quantize", total - 2):
            raise Stopped

    def tell(task: str, done: int, total: int) -> None:
        seen.append((task, done))

    checkpoint, wanted = open_checkpoint(tiny_folder), asked(tiny_folder, small_text)
    with pytest.raises(Stopped):
        quantize_checkpoint(checkpoint, wanted, out, stop)
    assert not out.exists()
    layers = len(checkpoint.layers)
    done = quantize_checkpoint(checkpoint, wanted, out, tell)
    assert done.reused == layers - 2
    assert [d for t, d in seen if t == "calibrate to quantize"] == [2]  # the first block is not run again
    assert not [t for t, _ in seen if t == "calibrate to measure tiles"]
    for file in alone.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
