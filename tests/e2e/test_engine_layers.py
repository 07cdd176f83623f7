"""Layers and calibration shards as tasks: the same bytes on every engine, and a lost worker loses no work."""

from pathlib import Path

import pytest

from haloquant.jobs.engine.tasks import Engine
from haloquant.jobs.quantize.job import quantize_checkpoint
from haloquant.jobs.quantize.stored_calibration import StoredStatistics
from haloquant.lm.checkpoint.reader import open_checkpoint
from support.engine_jobs import layers_request, quantize_and_kill
from support.workers import children


@pytest.mark.slow
def test_the_bytes_are_those_of_one_process_though_a_worker_is_killed(
    layers_alone: Path, tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    """In processes of this machine; test_engine_ray.py asks the same of a cluster."""
    quantize_and_kill(Engine(workers=2), children, layers_alone, tiny_folder, small_text, tmp_path)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("room", [True, False])
def test_a_stopped_calibrated_run_goes_on_from_the_block_it_was_in(
    room: bool,
    layers_alone: Path,
    tiny_folder: Path,
    small_text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With room on the disk the second pass reads the statistics of the first; without, it calibrates again."""
    if not room:
        monkeypatch.setattr(StoredStatistics, "have_room", lambda *_: False)
    out = tmp_path / "out"
    seen: list[tuple[str, int]] = []

    def stop(task: str, done: int, total: int) -> None:
        if (task, done) == ("quantize", total - 2):
            raise Stopped

    def tell(task: str, done: int, total: int) -> None:
        seen.append((task, done))

    checkpoint, wanted = open_checkpoint(tiny_folder), layers_request(tiny_folder, small_text)
    with pytest.raises(Stopped):
        quantize_checkpoint(checkpoint, wanted, out, stop)
    assert not out.exists()
    layers = len(checkpoint.layers)
    done = quantize_checkpoint(checkpoint, wanted, out, tell)
    assert done.reused == layers - 2
    # the first block is not run or read again
    assert [d for t, d in seen if t == "read statistics to quantize"] == [1] * room
    assert [d for t, d in seen if t == "calibrate to quantize"] == [2] * (not room)
    assert not [t for t, _ in seen if t == "calibrate to measure tiles"]
    for file in layers_alone.iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes(), file.name
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
