"""URLs of shared storage, and files in the memory that fsspec keeps for tests."""

import os
import uuid
from pathlib import Path

import pytest

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.checkpoint.remote import (
    RemoteFile,
    check_url,
    fetch_small,
    is_url,
    list_files,
    local_path,
    put_file,
)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder in memory with a small file, a shard and a file in a folder below."""
    pytest.importorskip("fsspec")
    url = f"memory://{uuid.uuid4().hex}/model"
    for name, data in {"config.json": b"{}", "model.safetensors": bytes(range(200)), "below/x.json": b"[]"}.items():
        (tmp_path / "file").write_bytes(data)
        put_file(tmp_path / "file", f"{url}/{name}")
    return url


def test_paths_of_this_machine_are_no_urls() -> None:
    assert is_url("s3://bucket/model") and not is_url("/models/s3")
    assert local_path("file:///models/a%20b") == Path("/models/a b")
    assert local_path("s3://bucket/model") is None


def test_a_url_is_given_back_without_its_last_slash() -> None:
    assert check_url("s3://bucket/model/") == "s3://bucket/model"
    assert check_url("hf://owner/model@abc") == "hf://owner/model@abc"


@pytest.mark.parametrize("url", ["http://host/model", "s3://", "s3:///", "simplecache::s3://bucket/model", "model"])
def test_other_schemes_and_chains_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^a model on shared storage must be named file:///\.\.\., s3://\.\.\., "):
        check_url(url)


def test_a_model_of_the_hub_must_be_pinned() -> None:
    with pytest.raises(InputError, match=r"^a model of the hub must be pinned to a revision, hf://owner/model@rev"):
        check_url("hf://owner/model")


def test_a_file_is_read_by_ranges_and_has_no_path(folder: str) -> None:
    file = RemoteFile(f"{folder}/model.safetensors")
    assert (file.name, str(file), file.stat().st_size) == ("model.safetensors", file.url, 200)
    with file.open("rb") as stream:
        stream.seek(150)
        assert stream.read(3) == bytes([150, 151, 152])
    with pytest.raises(InputError, match=r"must be on this machine to be opened as a file; copy the model here first$"):
        os.fspath(file)


def test_only_the_files_of_the_folder_itself_are_listed(folder: str) -> None:
    assert list_files(folder) == {"config.json": 2, "model.safetensors": 200}
    assert list_files(f"{folder}/none") == {}


def test_small_files_are_copied_and_shards_are_not(folder: str) -> None:
    home = fetch_small(folder)
    assert [path.name for path in home.iterdir()] == ["config.json"]
    assert (home / "config.json").read_bytes() == b"{}"
    with pytest.raises(CheckpointError, match=r"^the model must be a folder that holds files, but .*/none holds none$"):
        fetch_small(f"{folder}/none")
