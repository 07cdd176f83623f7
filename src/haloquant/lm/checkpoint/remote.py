"""Read model folders on shared storage (`s3://bucket/model`, `gs://`, `abfs://`) and on a hub, through fsspec.

A model of a hub must be pinned to a revision: `hf://owner/model@revision`. Small files are copied to a temporary folder
of this machine, since transformers and the tokenizer need local files. Shards are not copied: every tensor is read as a
range of bytes. Nothing is fetched unless the user gives a URL.
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

from haloquant.errors import CheckpointError, InputError, MissingExtraError, first_line

SCHEMES = ("s3", "gs", "abfs", "hf", "memory")
SMALL_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken")
MOST_SMALL_BYTES = 256 << 20
MOST_FILES = 10_000
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True)
class _FileStatus:
    """The fields of `os.stat_result` that the readers use."""

    st_mode: int
    st_size: int


@dataclass(frozen=True, order=True)
class RemoteFile:
    """One file of shared storage, by its URL. It has the reading methods of a `Path`."""

    url: str

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def open(self, mode: str = "rb", buffering: int = -1) -> Any:
        """Open for reading; byte ranges are fetched when they are read."""
        del mode, buffering
        system, path = _system(self.url)
        return system.open(path, "rb", block_size=BLOCK_BYTES)

    def stat(self) -> _FileStatus:
        """Return the size and the kind of the file."""
        system, path = _system(self.url)
        return _FileStatus(stat.S_IFREG, int(system.size(path)))

    def __fspath__(self) -> str:
        raise InputError(f"{self.url} must be on this machine to be opened as a file; copy the model here first")

    def __str__(self) -> str:
        return self.url


def is_url(text: str) -> bool:
    """Return whether `text` is a URL and not a local path."""
    return "://" in text


def local_path(url: str) -> Path | None:
    """Return the folder that a `file://` URL names; None for other URLs."""
    return Path(unquote(url.removeprefix("file://"))) if url.startswith("file:///") else None


def check_url(url: str) -> str:
    """Return the URL without a slash at its end.

    Raises:
        InputError: The scheme is not supported, the URL is chained (`::`), or a model of a hub is not pinned.
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
    """Return names and sizes in bytes of the files directly in a remote folder; empty if there is no such folder.

    Raises:
        CheckpointError: The storage does not answer.
    """
    system, path = _system(url)
    try:
        found = system.ls(path, detail=True, refresh=True) if _refreshes(system) else system.ls(path, detail=True)
    except FileNotFoundError:
        return {}
    except Exception as error:  # each storage raises its own classes
        raise CheckpointError(f"{url} must answer, but: {first_line(error)}") from error
    if len(found) > MOST_FILES:
        raise CheckpointError(f"{url} must hold at most {MOST_FILES} files, not {len(found)}")
    return {
        item["name"].rstrip("/").rpartition("/")[2]: int(item["size"] or 0) for item in found if item["type"] == "file"
    }


def fetch_small(url: str) -> Path:
    """Copy the small files of a remote folder to a temporary folder, which is removed when the process ends.

    Raises:
        CheckpointError: The folder is absent or a file cannot be read.
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
                raise CheckpointError(f"{url}/{name} must be readable, but: {first_line(error)}") from error
    return home


def put_file(source: Path, url: str) -> None:
    """Copy a file to shared storage, where it appears only when it is complete.

    Raises:
        OSError: It cannot be written.
    """
    system, path = _system(url)
    try:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.put_file(str(source), path)
    except Exception as error:
        raise OSError(5, first_line(error), url) from error


@cache
def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("shared storage needs fsspec: pip install 'haloquant[remote]'") from error
    return fsspec


def _system(url: str) -> tuple[Any, str]:
    """Return the storage behind a URL, and the path within it."""
    check_url(url)
    try:
        return _fsspec().core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise MissingExtraError(f"{url} needs a package that fsspec can use: {first_line(error)}") from error


def _refreshes(system: Any) -> bool:
    """Return whether the storage caches listings, so that a new listing must be requested."""
    return "s3" in system.protocol or "hf" in system.protocol
