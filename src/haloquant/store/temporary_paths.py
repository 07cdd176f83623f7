"""Temporary files and folders beside the final ones: their names, and their removal after a process was killed."""

import hashlib
import os
import re
import secrets
import shutil
import socket
from contextlib import suppress
from itertools import count
from pathlib import Path

_PROCESS = secrets.token_hex(4)  # tells this process from a dead one with the same number, as in containers
_NUMBERS = count()


def temporary_path(path: Path) -> Path:
    """Return a new hidden path next to `path`. No other process, machine or thread gets the same.

    Its name holds the number of this process and a hash of this machine's name, so that the path can be removed when
    this process is dead.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{_machine()}-{_PROCESS}-{next(_NUMBERS)}.tmp")


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files and folders of `path` that killed processes left in its folder.

    The name of a temporary file contains the number of its process and its machine. Only those of dead processes of
    this machine are removed, because this machine cannot see the processes of another.
    """
    _remove_temporaries(path.parent, re.escape(path.name), everywhere=False)


def remove_all_leftovers(folder: Path) -> None:
    """Remove all temporary files and folders that killed processes of any machine left in `folder`.

    Only this process may use the folder meanwhile.
    """
    _remove_temporaries(folder, ".+", everywhere=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if there is one. It is renamed first, so that no reader finds a part of it."""
    doomed = temporary_path(folder)
    with suppress(FileNotFoundError):  # another process removed it
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _remove_temporaries(folder: Path, name: str, everywhere: bool) -> None:
    pattern = re.compile(rf"\.{name}\.(\d+)(?:-([0-9a-f]{{8}})-([0-9a-f]{{8}})-\d+)?\.tmp")
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        found = pattern.fullmatch(entry.name)
        if found is None:
            continue
        number, machine, process = found.groups()
        here = machine in (None, _machine())
        if _is_alive(int(number), process) if here else not everywhere:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _is_alive(number: int, process: str | None) -> bool:
    if number == os.getpid():
        return process == _PROCESS  # another one is dead, and this process has its number now
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
