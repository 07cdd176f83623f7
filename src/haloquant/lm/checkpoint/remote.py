"""Model folders on shared storage: `s3://bucket/model` and its kin through fsspec, `hf://owner/model@revision` pinned.

Small files are copied to a temporary folder of this machine, as the tokenizer and the model's code want files; shards
stay where they are, and every tensor is read by its own range of bytes. Nothing is fetched unless a person names a URL.
"""

import atexit
import shutil
import stat
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from haloquant.errors import CheckpointError, InputError, MissingExtraError

SCHEMES = ("s3", "gs", "abfs", "hf", "memory")
SMALL_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
MOST_SMALL_BYTES = 256 << 20
MOST_FILES = 10_000
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class _About:
    """As much of a file's status as readers ask for."""

    st_mode: int
    st_size: int


@dataclass(frozen=True, order=True)
class RemoteFile:
    """One file of shared storage, by its URL. It reads as a `Path` does."""

    url: str

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def open(self, mode: str = "rb", buffering: int = -1) -> Any:
        """Open for reading; ranges are fetched as they are asked for."""
        del mode, buffering
        system, path = _system(self.url)
        return system.open(path, "rb", block_size=BLOCK_BYTES)

    def stat(self) -> _About:
        """Its size."""
        system, path = _system(self.url)
        return _About(stat.S_IFREG, int(system.size(path)))

    def __fspath__(self) -> str:
        raise InputError(f"{self.url} must be on this machine to be opened so; copy the model here first")

    def __str__(self) -> str:
        return self.url


def is_url(text: str) -> bool:
    """Whether a person named shared storage instead of a folder."""
    return "://" in text


def local_path(url: str) -> Path | None:
    """The folder that a `file://` URL names; None for other URLs."""
    return Path(unquote(url.removeprefix("file://"))) if url.startswith("file:///") else None


def check_url(url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        InputError: its scheme is not one of those that are read, it is chained, or a hub's model is not pinned.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or "::" in url or not rest.strip("/"):
        raise InputError(
            f"a model on shared storage must be named file:///..., {', '.join(f'{s}://...' for s in SCHEMES)}, "
            f"not {url!r:.200}"
        )
    if scheme == "hf" and "@" not in rest:
        raise InputError(
            f"a model of the hub must be pinned to a revision, hf://owner/model@revision (a commit is best), not "
            f"{url:.200}: what a name stands for may change"
        )
    return url.rstrip("/")


def list_files(url: str) -> dict[str, int]:
    """Names and sizes of the files right in a remote folder; none where there is no such folder.

    Raises:
        CheckpointError: the storage does not answer.
    """
    system, path = _system(url)
    try:
        found = system.ls(path, detail=True, refresh=True) if _refreshes(system) else system.ls(path, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:  # each storage has errors of its own
        raise CheckpointError(f"{url} must answer, but: {_line(error)}") from error
    if len(found) > MOST_FILES:
        raise CheckpointError(f"{url} must hold at most {MOST_FILES} files, not {len(found)}")
    return {
        item["name"].rstrip("/").rpartition("/")[2]: int(item["size"] or 0) for item in found if item["type"] == "file"
    }


def fetch_small(url: str) -> Path:
    """A temporary folder with copies of a remote folder's small files, gone when the process ends.

    Raises:
        CheckpointError: the folder is absent or a file cannot be read.
    """
    files = list_files(url)
    if not files:
        raise CheckpointError(f"the model must be a folder that holds files, but {url} holds none")
    home = Path(tempfile.mkdtemp(prefix="haloquant-model-"))
    atexit.register(shutil.rmtree, home, True)
    system, path = _system(url)
    for name, size in files.items():
        if Path(name).suffix in SMALL_SUFFIXES and Path(name).name == name and size <= MOST_SMALL_BYTES:
            try:
                system.get_file(f"{path}/{name}", str(home / name))
            except Exception as error:
                raise CheckpointError(f"{url}/{name} must be readable, but: {_line(error)}") from error
    return home


def put_file(source: Path, url: str) -> None:
    """Copy a file to shared storage, where it appears when it is whole.

    Raises:
        OSError: it cannot be written.
    """
    system, path = _system(url)
    try:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(source), path)
    except Exception as error:
        raise OSError(5, _line(error), url) from error


@cache
def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("shared storage needs fsspec: pip install 'haloquant[remote]'") from error
    return fsspec


def _system(url: str) -> tuple[Any, str]:
    """The storage behind a URL and the path within it."""
    check_url(url)
    try:
        return _fsspec().core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise MissingExtraError(f"{url} needs a package that fsspec can use: {_line(error)}") from error


def _refreshes(system: Any) -> bool:
    """Whether listings are kept and must be asked for anew."""
    return "s3" in system.protocol or "hf" in system.protocol


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
