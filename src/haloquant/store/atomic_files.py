"""Files that are whole or absent: atomic writes, bounded reads, checksums, one lock per output folder."""

import errno
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from haloquant.errors import MALFORMED, BusyError, InputError

MANIFEST = "manifest.json"
LOCK = ".haloquant.lock"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Written last into a finished folder: what it holds, and what made it."""

    key: str
    files: dict[str, str]  # relative path -> sha256
    made_by: dict[str, str] = {}


def read_bounded(path: Path, limit_bytes: int) -> bytes:
    """Return the whole file, refusing one above `limit_bytes` before anything is read.

    Raises:
        InputError: the file is missing, not a regular file, or too large.
    """
    if not path.is_file():
        raise InputError(f"{path} must be a file; there is none")
    size = path.stat().st_size
    if size > limit_bytes:
        raise InputError(f"{path} must be at most {limit_bytes:,} bytes, not {size:,}")
    with path.open("rb") as file:
        return file.read(size)  # the limit itself would be taken from memory at once


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(*parts: object) -> str:
    """One hash of plain values (numbers, strings, lists, maps, msgspec structs); equal values give equal keys."""
    return sha256_bytes(msgspec.json.encode(parts, order="deterministic"))


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep_leftovers(path: Path) -> None:
    """Remove what killed processes left beside `path`: temporary names that carry the number of a dead process."""
    _sweep(path.parent, re.escape(path.name))


def sweep_folder(folder: Path) -> None:
    """Remove what killed processes left in a folder that this process alone uses, whatever it was to become."""
    _sweep(folder, ".+")


def _sweep(folder: Path, name: str) -> None:
    pattern = re.compile(rf"\.{name}\.(\d+)\.tmp")
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        found = pattern.fullmatch(entry.name)
        if found is None or _alive(int(found[1])):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` so that a reader sees the old file or the whole new one."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the whole new one."""
    write_bytes(path, text.encode())


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn the error that safetensors has of its own for a failed write into the OSError it is."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


@contextmanager
def atomic_folder(path: Path, key: str, made_by: dict[str, str] | None = None) -> Iterator[Path]:
    """Yield a temporary folder; on success every file in it is fsynced, a manifest written last, and it is renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        files: dict[str, str] = {}
        for file in sorted(p for p in temporary.rglob("*") if p.is_file()):
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
            files[str(file.relative_to(temporary))] = sha256_file(file)
        manifest = Manifest(key, files, made_by or {})
        write_bytes(temporary / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        if path.exists():
            shutil.rmtree(path)  # only ever a folder that `finished` has refused
        temporary.rename(path)
        _fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def finished(path: Path, key: str) -> bool:
    """True if the folder holds a manifest with this key and every file has the checksum it names."""
    try:
        manifest = msgspec.json.decode(read_bounded(path / MANIFEST, 1 << 24), type=Manifest)
    except (InputError, *MALFORMED):
        return False
    if manifest.key != key:
        return False
    return all(
        (path / name).is_file() and sha256_file(path / name) == digest for name, digest in manifest.files.items()
    )


def claim_output(folder: Path) -> None:
    """Make an output folder ours, or refuse one that holds something else.

    Raises:
        InputError: the folder cannot be written, or is not empty and was not made by haloquant.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output must be a folder, not the file {folder}; name another with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = (folder / LOCK).exists()
        if not known and any(folder.iterdir()):
            raise InputError(
                f"the output folder {folder} must be empty or one that haloquant made, and it holds other files; "
                "name another with --out"
            )
        (folder / LOCK).touch()
    except (PermissionError, OSError) as error:
        raise InputError(f"the output folder {folder} must be writable: {error.strerror}") from error


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Hold the output folder for one process; the kernel drops the lock when the process dies, so none goes stale.

    Raises:
        BusyError: another live process holds it.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    owner = folder / f"{LOCK}.owner"
    try:
        lock.acquire()
    except Timeout as error:
        who = owner.read_text() if owner.is_file() else "unknown"
        raise BusyError(
            f"another run holds {folder} ({who}); wait for it, or name another folder with --out"
        ) from error
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()
