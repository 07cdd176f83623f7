"""Write files and folders atomically, read files of bounded size, check checksums, and lock output folders.

After an interruption a file or folder is either complete or absent.
"""

import errno
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

import msgspec
from filelock import FileLock, Timeout
from safetensors import SafetensorError

from haloquant.errors import MALFORMED, BusyError, InputError
from haloquant.store.placeholder_files import BEGINNING, stand_in
from haloquant.store.temporary_paths import remove_folder, temporary_path

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 24
LOCK = ".haloquant.lock"
OWNER = f"{LOCK}.owner"
_MOST_ATTEMPTS = 20  # to rename a folder into a place that other processes fill at the same time
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The files of a finished folder, and their origin. It is the last file that is written into the folder."""

    key: str | msgspec.UnsetType = msgspec.UNSET  # hash of the inputs of a step; a model folder has none
    files: dict[str, str]  # relative path -> SHA-256
    made_by: dict[str, str] = {}


def read_bounded(path: Path, limit_bytes: int, purpose: str = "", error: type[InputError] = InputError) -> bytes:
    """Return all bytes of a file that must be small.

    The size is checked before anything is read.

    Args:
        path: the file.
        limit_bytes: greatest size.
        purpose: begins the error sentence of a missing file, for example "a model folder must hold config.json".
        error: class of the errors that are raised.

    Raises:
        InputError: The file is missing, unreadable, not a regular file, or too large; or another stands in its place
            (`placeholder_files`).
    """
    try:
        size = regular_size(path, error)
        if size > limit_bytes:
            raise error(f"{path} must be at most {limit_bytes:,} bytes, not {size:,}")
        with path.open("rb") as file:
            data = file.read(size)  # `read(limit_bytes)` would allocate the limit at once
    except (FileNotFoundError, NotADirectoryError, ValueError) as cause:  # ValueError: a NUL character in the name
        missing = f"{purpose}, but {path} does not exist" if purpose else f"{path} must be a file; there is none"
        raise error(missing) from cause
    except OSError as cause:
        raise error(f"{path} must be readable, but: {cause.strerror}") from cause
    if (said := stand_in(path, data[:BEGINNING])) is not None:
        raise error(said)
    return data


def regular_size(path: Path, error: type[InputError] = InputError) -> int:
    """Return the size of a regular file in bytes.

    Raises:
        InputError: It is another kind of file, such as a named pipe, whose reading could block forever. The class is
            that of `error`.
        OSError: There is no such file, or it cannot be reached.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path} must be a regular file, and is not")
    return status.st_size


def sha256_bytes(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, which is read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_key(*parts: object) -> str:
    """Return one hash of numbers, strings, lists, maps and msgspec structs. Equal values give equal keys."""
    return sha256_bytes(msgspec.json.encode(parts, order="deterministic"))


def _fsync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`. On success it is flushed to the disk and renamed, on failure removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` so that a reader sees either the old file or the complete new one."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees either the old file or the complete new one."""
    write_bytes(path, text.encode())


@contextmanager
def safetensors_file(path: Path) -> Iterator[None]:
    """Enclose a call of safetensors that writes `path`.

    The file gets the permissions that every new file gets (those that the umask allows); safetensors alone lets only
    the owner read it.

    Raises:
        OSError: Safetensors failed to write the file.
    """
    path.touch()
    permissions = stat.S_IMODE(path.stat().st_mode)
    try:
        yield
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    path.chmod(permissions)


@contextmanager
def atomic_folder(
    path: Path,
    key: str | None = None,
    made_by: Mapping[str, str] | None = None,
    *,
    manifest_name: str = MANIFEST,
    replace: bool = False,
) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, which is renamed to `path` on success and removed on failure.

    Before it is renamed, every file in it is flushed to the disk and its manifest is written. So a reader finds either
    the complete folder or none. If several processes make a folder with the same key at once, the first one stays and
    is not touched again, because others may read it already.

    Args:
        path: the folder to make.
        key: hash of the inputs, stored in the manifest; None stores no key.
        made_by: versions and settings, stored in the manifest.
        manifest_name: file name of the manifest.
        replace: True removes an existing folder at `path`; False allows only an empty one there.

    Raises:
        OSError: The folder cannot be written, or `path` is not empty and `replace` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        found = sorted(file for file in temporary.rglob("*") if file.is_file())
        files = {str(file.relative_to(temporary)): _flush_and_hash(file) for file in found}
        manifest = Manifest(key=msgspec.UNSET if key is None else key, files=files, made_by=dict(made_by or {}))
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        write_bytes(temporary / manifest_name, text)
        if replace:
            _replace_folder(temporary, path, key)
        else:
            temporary.rename(path)  # replaces an empty folder
        _fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, path: Path, key: str | None) -> None:
    """Rename `new` to `path`, and remove another folder there unless it is complete and has the same key."""
    for attempt in range(_MOST_ATTEMPTS):
        try:
            new.rename(path)
            return
        except OSError as error:
            if error.errno not in _OCCUPIED or attempt == _MOST_ATTEMPTS - 1:
                raise
        checked = _identity(path)
        if key is not None and is_finished(path, key):
            return
        if _identity(path) == checked:  # otherwise another process replaced it while it was checked
            remove_folder(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of a folder on its file system; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _flush_and_hash(file: Path) -> str:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(folder: Path, name: str = MANIFEST, error: type[InputError] = InputError) -> Manifest:
    """Return the manifest of a folder that `atomic_folder` made.

    Args:
        folder: the folder.
        name: file name of the manifest.
        error: class of the errors that are raised.

    Raises:
        InputError: The manifest is missing, unreadable or malformed.
    """
    path = folder / name
    data = read_bounded(path, MAX_MANIFEST_BYTES, error=error)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except MALFORMED as cause:
        raise error(f"{path} must be a manifest, but is damaged: {cause}") from cause


def check_files(folder: Path, manifest: Manifest, name: str = MANIFEST, error: type[InputError] = InputError) -> None:
    """Compare every file that a manifest names with its checksum.

    Args:
        folder: the folder.
        manifest: its manifest.
        name: file name of the manifest, for the error sentences.
        error: class of the errors that are raised.

    Raises:
        InputError: A file is missing, is outside the folder, or has another checksum.
    """
    for relative, expected in manifest.files.items():
        file, parts = folder / relative, PurePath(relative)
        if parts.is_absolute() or ".." in parts.parts or not file.is_file():
            raise error(f"{folder} must hold {relative}, which {name} names, and it is missing")
        try:
            found = sha256_file(file)
        except OSError as cause:  # another process may be removing it
            raise error(f"{file} must be readable, but: {cause.strerror}") from cause
        if found != expected:
            raise error(f"{file} must have the SHA-256 {expected[:12]}, not {found[:12]}: the file is damaged")


def is_finished(path: Path, key: str) -> bool:
    """Return whether the folder has a manifest with this key and every file has the checksum in the manifest."""
    try:
        manifest = read_manifest(path)
        if manifest.key != key:
            return False
        check_files(path, manifest)
    except InputError:
        return False
    return True


def claim_output(folder: Path) -> None:
    """Create an output folder, or accept one that haloquant made; refuse a folder that holds other files.

    Raises:
        InputError: The folder cannot be written, or is not empty and was not made by haloquant.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"the output must be a folder, not the file {folder}; name another with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = {entry.name for entry in folder.iterdir()}
        if there and LOCK not in there:
            raise InputError(
                f"the output folder {folder} must be empty or one that haloquant made, and it holds other files; "
                "name another with --out"
            )
        (folder / LOCK).touch()
    except (PermissionError, OSError) as error:
        raise InputError(f"the output folder {folder} must be writable: {error.strerror}") from error


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Lock the output folder for this process. The operating system releases the lock if the process dies.

    Raises:
        BusyError: Another live process holds it.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    owner = folder / OWNER
    try:
        lock.acquire()
    except Timeout as error:
        who = "unknown"
        with suppress(OSError):  # it may be removed at this moment
            who = owner.read_text() or who
        raise BusyError(
            f"another run holds {folder} ({who}); wait for it, or name another folder with --out"
        ) from error
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keep other processes from writing the file or folder `path` meanwhile; this process may enter it again.

    The lock is a hidden file beside `path`, which is removed at the end.

    Raises:
        BusyError: Another live process writes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    lock = FileLock(place, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"another run writes {path}; wait for it, or name another folder with --out") from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # before it is released, so that no other process has it
            place.unlink(missing_ok=True)
        lock.release()
