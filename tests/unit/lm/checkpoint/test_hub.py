"""Names of the hub: found in a cache of this machine, pinned to a commit, and fetched only if asked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("torch")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.hub import DOWNLOAD, find_snapshot, is_hub_name, origin  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.export.model_folder import list_small_files  # noqa: E402
from support.tiny_model import save_llama  # noqa: E402

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two commits of one model, as huggingface_hub lays it out: links to blobs. `main` is the second."""
    home = tmp_path / "hub" / "models--owner--tiny"
    for commit, seed in ((FIRST, 1), (SECOND, 2)):
        plain = save_llama(tmp_path / commit, attention_bias=False, initializer_range=0.01 * seed)
        (plain / "tokenizer.json").write_text("{}")
        folder = home / "snapshots" / commit
        folder.mkdir(parents=True)
        (home / "blobs").mkdir(exist_ok=True)
        for file in plain.iterdir():
            blob = file.rename(home / "blobs" / f"{seed}-{file.name}")
            (folder / file.name).symlink_to(blob)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(SECOND)
    (home / "refs" / "v1").write_text(FIRST)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(DOWNLOAD, raising=False)
    return home


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner/model", True), ("owner/Model-7B.v1@main", True), ("owner/model@refs/pr/1", True), ("demo", False),
        ("a/b/c", False), ("../model", False), ("/model", False), ("owner/model@", False), ("~/model", False),
    ],
)  # fmt: skip
def test_names_of_the_hub(text: str, expected: bool) -> None:
    assert is_hub_name(text) is expected


@pytest.mark.usefixtures("offline")
def test_a_name_is_the_commit_of_its_revision_in_the_cache(cache: Path) -> None:
    for name, commit in (("owner/tiny", SECOND), ("owner/tiny@v1", FIRST), (f"owner/tiny@{FIRST}", FIRST)):
        checkpoint = open_checkpoint(name)
        assert checkpoint.folder == cache / "snapshots" / commit
        assert checkpoint.origin == f"owner/tiny@{commit}"
        assert checkpoint.notes == (f"owner/tiny is read from the hub's cache at commit {commit}",)
        assert [file.name for file in list_small_files(checkpoint.folder)] == [
            "generation_config.json",
            "tokenizer.json",
        ]
    assert origin(cache) == ""


@pytest.mark.usefixtures("offline")
def test_a_model_that_the_cache_does_not_hold_is_not_fetched(cache: Path) -> None:
    for name in ("owner/other", "owner/tiny@v9"):
        with pytest.raises(CheckpointError, match=rf"but {name} does not exist; nothing is fetched .* --download .*"):
            open_checkpoint(name)


def test_a_model_is_fetched_if_asked_without_pickles_and_code(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def fetch(name: str, **settings: Any) -> str:
        asked.update(settings, name=name)
        if name == "owner/gone":
            raise OSError("404 Client Error\nmore lines")
        return str(cache / "snapshots" / FIRST)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setenv(DOWNLOAD, "1")
    assert find_snapshot("owner/new@v2").name == FIRST
    assert (asked["name"], asked["revision"], asked["local_files_only"]) == ("owner/new", "v2", False)
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked["allow_patterns"])
    with pytest.raises(CheckpointError, match=r"must be a model that the hub gives out, but: 404 Client Error$"):
        find_snapshot("owner/gone")
    monkeypatch.setenv(DOWNLOAD, "0")
    find_snapshot("owner/new")
    assert asked["local_files_only"] is True


def test_the_option_of_the_command_line_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from haloquant.cli.app import invoke

    asked: list[bool] = []

    def fetch(name: str, **settings: Any) -> str:
        asked.append(settings["local_files_only"])
        raise OSError("no such model")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.setenv(DOWNLOAD, "")
    assert invoke(["quantize", "owner/new", "--out", str(tmp_path / "q")]) == 2
    assert invoke(["--download", "quantize", "owner/new", "--out", str(tmp_path / "q")]) == 2
    assert asked == [True, False]
    assert json.dumps(sorted(p.name for p in tmp_path.iterdir())) == "[]"


@pytest.mark.slow
def test_a_process_that_loaded_nothing_else_looks_a_name_up(cache: Path) -> None:
    """In a test's process transformers has loaded all of huggingface_hub already; a command has not."""
    found = "from haloquant.lm.checkpoint.reader import open_checkpoint; open_checkpoint(sys.argv[1])"
    refused = "from haloquant.cli.app import invoke; sys.exit(invoke(['quantize', sys.argv[1], '--dry-run']))"
    for name, code, exit_code in (("owner/tiny", found, 0), ("owner/none", refused, 2)):
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; {code}", name],
            env={**os.environ, "HF_HUB_CACHE": str(cache.parent), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == exit_code, done.stderr
    assert "the hub's cache" in " ".join(done.stderr.split())
