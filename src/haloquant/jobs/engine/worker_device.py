"""The device of a worker process. Of several GPUs each worker has one; its tasks compute there, one at a time.

A worker may share its GPU with other workers, and the first GPU also calibrates, in the process that started the
workers. All of them take turns, so that the device's memory holds the work of one of them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

_own: str | None = None  # torch's name of this process's device; None where the caller's own choice holds
_turns: Path | None = None  # a file that is locked while a task uses a device that other workers use too


def bind_device(device: str, turns: Path | None = None) -> None:
    """Give this process a device.

    Args:
        device: torch's name of the device.
        turns: the lock file of those who share the device; None if nobody else uses it.
    """
    global _own, _turns
    _own, _turns = device, turns


@contextmanager
def sharing(turns: Path) -> Iterator[None]:
    """Within the `with` block, this process takes turns on a device with its workers.

    Args:
        turns: The lock file of those who share the device.
    """
    global _turns
    before, _turns = _turns, turns
    try:
        yield
    finally:
        _turns = before


def own_device(device: str) -> str:
    """Return the device on which a task of this process computes.

    Args:
        device: the device that the task asks for: "cpu" stays, and a GPU stands for the worker's own, if it has one.
    """
    return device if _own is None or device == "cpu" else _own


@contextmanager
def device_turn() -> Iterator[None]:
    """Have the device alone within the `with` block; wait for other processes of this job that use it."""
    if _turns is None:
        yield
        return
    with _turns.open("w") as file:
        flock(file, LOCK_EX)
        try:
            yield
        finally:
            torch = sys.modules.get("torch")
            if torch is not None and torch.cuda.is_initialized():
                torch.cuda.empty_cache()  # what torch keeps for later would be missing in the next task of another
