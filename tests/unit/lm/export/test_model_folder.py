"""Files copied into a packed model folder."""

from pathlib import Path

import pytest
from filelock import FileLock

from haloquant.errors import BusyError, CheckpointError
from haloquant.lm.export.model_folder import copy_small_files, list_small_files, new_model_folder


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_link_out_of_a_model_folder_is_not_copied_into_a_model_that_may_be_given_away(tmp_path: Path) -> None:
    secret = _file(tmp_path / "key.txt", b"secret")
    model, out = tmp_path / "cache" / "snapshots" / "1", tmp_path / "out"
    model.mkdir(parents=True)
    out.mkdir()
    blobs = tmp_path / "cache" / "blobs"
    blobs.mkdir()
    (model / "tokenizer.json").symlink_to(_file(blobs / "a1", b"{}"))  # as the hub's own cache does
    copy_small_files(model, out)
    assert (out / "tokenizer.json").read_bytes() == b"{}"
    (model / "notes.txt").symlink_to(secret)
    with pytest.raises(
        CheckpointError, match=r"notes\.txt must lie in the model folder, not be a link to .*key\.txt: "
    ):
        copy_small_files(model, out)
    assert not (out / "notes.txt").exists()


def test_a_folder_whose_files_are_all_links_into_one_other_folder_is_copied(tmp_path: Path) -> None:
    store, model, out = tmp_path / "store", tmp_path / "model", tmp_path / "out"
    for folder in (store, model, out):
        folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).symlink_to(_file(store / name, b"{}"))
    copy_small_files(model, out)
    assert (out / "tokenizer.json").read_bytes() == b"{}"
    (model / "model.safetensors").unlink()
    _file(model / "model.safetensors", b"{}")  # the weights are the folder's own, so its links may lead anywhere
    with pytest.raises(CheckpointError, match=r"tokenizer\.json must lie in the model folder, not be a link"):
        list_small_files(model)


def test_a_model_folder_that_another_run_writes_is_refused_before_any_work(tmp_path: Path) -> None:
    other = FileLock(tmp_path / ".out.lock")  # as another process would hold it
    with (
        other,
        pytest.raises(BusyError, match=r"another run writes .*out; wait for it"),
        new_model_folder(tmp_path / "out", {}),
    ):
        raise AssertionError("nothing may be written")
    with new_model_folder(tmp_path / "out", {}) as folder:
        (folder / "config.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
