"""Checkpoints in and out of shared storage: memory in this process, and a real S3 server on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from haloquant.cli.app import invoke
from haloquant.errors import CheckpointError, InputError
from haloquant.jobs.quantize import shared_storage
from haloquant.lm.checkpoint import remote
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint, read_weight
from haloquant.lm.checkpoint.remote import RemoteFile, check_url, list_files
from haloquant.lm.export.model_folder import MANIFEST

fsspec = pytest.importorskip("fsspec")


def upload(folder: Path, url: str) -> None:
    for file in folder.iterdir():
        remote.put_file(file, f"{url}/{file.name}")


def quantize(model: str, out: str, work: Path, *more: str) -> int:
    options = ["--goal", "acc-opt", "--calibration", "none", "--tile", "32", "--work", str(work), "-q"]
    return invoke(["quantize", model, "--out", out, *options, *more])


@pytest.fixture(scope="module")
def alone(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is written to a folder from a folder, by name."""
    out = tmp_path_factory.mktemp("alone") / "out"
    assert quantize(str(tiny_folder), str(out), out.parent) == 0
    return {file.name: file.read_bytes() for file in out.iterdir()}


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of a server on this machine that speaks S3."""
    pytest.importorskip("s3fs")
    server_of = pytest.importorskip("moto.server")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("models")
        yield "s3://models"
    server.stop()


def read(url: str) -> dict[str, bytes]:
    return {name: RemoteFile(f"{url}/{name}").open().read() for name in list_files(url)}


def test_a_model_in_memory_reads_as_the_one_on_disk(memory: Any, tiny_folder: Path) -> None:
    upload(tiny_folder, "memory://models/tiny")
    here, there = open_checkpoint(tiny_folder), open_checkpoint("memory://models/tiny/")
    assert content_hash(there) == content_hash(here)
    for one, other in zip(here.layers, there.layers, strict=True):
        assert one == other
        assert (read_weight(here, one) == read_weight(there, other)).all()
    assert open_checkpoint(f"file://{tiny_folder}").folder == tiny_folder


def test_from_and_to_memory_the_bytes_are_those_of_folders(
    memory: Any, tiny_folder: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    upload(tiny_folder, "memory://models/tiny")
    assert quantize("memory://models/tiny", "memory://models/halo", tmp_path) == 0
    assert read("memory://models/halo") == alone
    assert not (tmp_path / "model").exists()
    assert quantize("memory://models/tiny", "memory://models/halo", tmp_path) == 2  # nothing whole is written over


def test_a_stopped_upload_has_no_manifest_and_goes_on(
    memory: Any, tiny_folder: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def fail_after_three(source: Path, url: str) -> None:
        if len(sent) == 3:
            raise OSError(5, "the network is gone", url)
        sent.append(source.name)
        remote.put_file(source, url)

    with monkeypatch.context() as patch:
        patch.setattr(shared_storage, "put_file", fail_after_three)
        assert quantize(str(tiny_folder), "memory://models/halo", tmp_path) == 7
    there = list_files("memory://models/halo")
    assert sorted(there) == sorted(sent) and MANIFEST not in there
    again: list[str] = []

    def note(source: Path, url: str) -> None:
        again.append(source.name)
        remote.put_file(source, url)

    monkeypatch.setattr(shared_storage, "put_file", note)
    assert quantize(str(tiny_folder), "memory://models/halo", tmp_path) == 0
    assert not set(again) & set(sent) and again[-1] == MANIFEST
    assert read("memory://models/halo") == alone


def test_what_others_put_there_is_left_alone(
    memory: Any, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    memory.pipe("/models/theirs/thesis.tex", b"precious")
    assert quantize(str(tiny_folder), "memory://models/theirs", tmp_path) == 2
    assert "must be empty or not exist yet, and it holds thesis.tex; name another" in capsys.readouterr().err
    assert memory.cat("/models/theirs/thesis.tex") == b"precious"


def test_an_index_on_shared_storage_cannot_lead_out_of_its_folder(memory: Any, tiny_folder: Path) -> None:
    upload(tiny_folder, "memory://models/bad")
    memory.rm("/models/bad/model.safetensors")  # an index beside it would not be read
    index = {"weight_map": {"model.embed_tokens.weight": "../tiny/model.safetensors"}}
    memory.pipe("/models/bad/model.safetensors.index.json", json.dumps(index).encode())
    with pytest.raises(CheckpointError, match=r"must name shards beside it \(\*\.safetensors\), not '\.\./tiny/"):
        open_checkpoint("memory://models/bad")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_from_and_to_s3_the_bytes_are_those_of_folders(
    s3: str, tiny_folder: Path, alone: dict[str, bytes], tmp_path: Path
) -> None:
    upload(tiny_folder, f"{s3}/tiny")
    assert quantize(f"{s3}/tiny", f"{s3}/halo", tmp_path, "--workers", "2") == 0  # workers read by range
    assert read(f"{s3}/halo") == alone
    with pytest.raises(CheckpointError, match=r"must be a folder that holds files, but s3://models/none holds none"):
        open_checkpoint(f"{s3}/none")


@pytest.mark.parametrize("url", ["http://x/y", "simplecache::s3://x/y", "s3://", "zip://x", "s3:///"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"^a model on shared storage must be named file:///\.\.\., s3://\.\.\., "):
        check_url(url)


def test_a_model_of_the_hub_is_pinned_and_read_by_the_hubs_own_library() -> None:
    with pytest.raises(InputError, match=r"must be pinned to a revision, hf://owner/model@revision .*, not hf://a/b: "):
        check_url("hf://a/b")
    assert check_url("hf://a/b@main") == "hf://a/b@main"
    pytest.importorskip("huggingface_hub")
    assert fsspec.get_filesystem_class("hf").__module__.startswith("huggingface_hub.")
