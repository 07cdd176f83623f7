"""Saved hidden states: where a stopped pass continues, and which are deleted. Statistics that the next pass reads."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from haloquant.jobs.quantize import stored_calibration
from haloquant.jobs.quantize.stored_calibration import StoredStates, StoredStatistics, remove_calibrations
from haloquant.lm.calibration.statistics_file import load_statistics
from haloquant.lm.checkpoint.linear_layers import LinearLayer
from haloquant.records import STATISTICS_ARRAYS, LayerStatistics
from haloquant.store.finished_steps import Steps


def layers(*blocks: int) -> list[LinearLayer]:
    return [LinearLayer(f"layer {block}", "weight", 4, 4, block, block) for block in blocks]


def stored(folder: Path) -> list[str]:
    return sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir())


def test_a_pass_continues_before_the_first_block_that_lacks_a_layer(tmp_path: Path) -> None:
    states = StoredStates(Steps(tmp_path, {}), "key", "measure tiles")
    for blocks in (1, 2, 3):
        states.save(blocks, np.full((1, 2, 3), blocks, np.float32), layers(1, 2, 3))
    found = states.resume(layers(2, 3))
    assert found is not None
    assert (found[0], float(found[1].max())) == (2, 2.0)
    assert states.resume(layers(0, 2)) is None
    assert StoredStates(Steps(tmp_path, {}), "other", "measure tiles").resume(layers(2)) is None


def test_states_that_no_unfinished_layer_needs_are_deleted(tmp_path: Path) -> None:
    states = StoredStates(Steps(tmp_path, {}), "key", "quantize")
    array = np.zeros((1, 2, 3), np.float32)
    states.save(1, array, layers(0, 1, 2))
    states.save(2, array, layers(1, 2))
    assert stored(tmp_path) == ["states-quantize-1", "states-quantize-2"]
    states.save(3, array, layers(2))
    assert stored(tmp_path) == ["states-quantize-2", "states-quantize-3"]
    other = StoredStates(states.steps, "other", "quantize")  # another process, whose settings differ
    other.save(3, array, layers(2))
    states.delete(range(1, 4))
    assert stored(tmp_path) == ["states-quantize-3"] and other.resume(layers(3)) is not None


def test_statistics_keep_their_bits_and_what_layers_share(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    hessian = draw.normal(size=(4, 4)).astype(np.float32)
    block = {
        name: LayerStatistics(name, 7, draw.normal(size=(3, 4)).astype(np.float32), hessian, source="drawn")
        for name in ("q", "k")
    }
    block["v"] = LayerStatistics("v", 7, value_hessian=hessian * 2, value_rows=np.array([True, False, True]))
    kept = StoredStatistics(Steps(tmp_path, {}), "key")
    kept.save(3, block)
    other = StoredStatistics(kept.steps, "other")
    assert kept.find([2, 3]) is None and other.find([3]) is None
    files = kept.find([3])
    assert files is not None and list(files) == [3]
    found = load_statistics(files[3])
    assert found.keys() == block.keys() and found["q"].hessian is found["k"].hessian
    for name, known in block.items():
        assert (found[name].tokens, found[name].source) == (known.tokens, known.source)
        for part in STATISTICS_ARRAYS:
            before, after = getattr(known, part), getattr(found[name], part)
            assert (before is None and after is None) or (after.dtype == before.dtype and np.array_equal(after, before))
    other.save(3, block)  # another process, whose settings differ, works on the same folder
    kept.delete(range(5))
    assert stored(tmp_path) == ["statistics-3"] and kept.find([3]) is None and other.find([3]) is not None


def test_statistics_are_kept_where_the_disk_holds_them_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hessian = np.zeros((8, 8), np.float32)
    block = {name: LayerStatistics(name, 1, hessian=hessian) for name in ("q", "k")}  # shared: 256 bytes
    kept = StoredStatistics(Steps(tmp_path, {}), "key")
    for free, enough in ((2 * 3 * 256, True), (2 * 3 * 256 - 1, False)):
        monkeypatch.setattr(stored_calibration.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert kept.have_room(block, 3) is enough


def test_a_finished_job_deletes_what_stopped_jobs_left_and_nothing_else(tmp_path: Path) -> None:
    steps = Steps(tmp_path, {})
    block = {"q": LayerStatistics("q", 1, hessian=np.zeros((8, 8), np.float32))}
    for key in ("key", "other"):
        StoredStatistics(steps, key).save(0, block)
        StoredStates(steps, key, "quantize").save(1, np.zeros((1, 2, 3), np.float32), layers(1))
    kept = steps.run("layer-q", "key", lambda at: (at / "file").touch())[0]
    remove_calibrations(steps)
    assert list(tmp_path.iterdir()) == [kept]
