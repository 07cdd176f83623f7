"""Common parts of all engines: descriptions of an engine, a task and a session, and the engine's name as text.

A task is a function that can be imported by its name, a small argument, and named arrays of any size. It returns a
small result and named arrays.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from haloquant.errors import InputError

_MOST_WORKERS = 4096

Arrays = Mapping[str, np.ndarray]
Function = Callable[[Any, Arrays], tuple[Any, Arrays]]

RETRIES = 3  # how often lost workers are replaced before the job fails


@dataclass(frozen=True)
class Engine:
    """Where tasks run.

    `local` runs them in `workers` processes of this machine (with 1: in this process). `ray` runs them on the Ray
    cluster at `address`, or without an address on a Ray cluster that is started on this machine.

    `devices` holds torch's names of GPUs of this machine. Each local worker has one of them, in turn. If it is empty, a
    task computes on the device that it names.
    """

    kind: Literal["local", "ray"] = "local"
    workers: int = 1
    address: str | None = None
    devices: tuple[str, ...] = ()


THIS_PROCESS = Engine()


@dataclass(frozen=True)
class Work:
    """The input of one task: a small argument, and arrays that are passed in files or pieces.

    `device` is where the task computes: "cpu", or a GPU, for which a cluster chooses a worker that has one.
    """

    argument: Any
    arrays: Arrays = field(default_factory=dict)
    device: str = "cpu"


@runtime_checkable
class Session(Protocol):
    """Workers that are ready for tasks. `run` may be called while the results of another `run` are still being read."""

    workers: int

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """Yield (number of the task, small result, arrays) as tasks end; `works` is read only a few tasks ahead."""
        ...


def parse_engine(text: str, workers: int) -> Engine:
    """Return the engine that `text` names.

    Args:
        text: `local` or `pool` (processes of this machine), `ray` (a cluster started on this machine), or
            `ray=host:port` (a running cluster).
        workers: Number of processes or of CPUs.

    Raises:
        InputError: `text` names no engine, or `workers` is below 1 or above 4,096.
    """
    if not 1 <= workers <= _MOST_WORKERS:
        wanted = "at least 1" if workers < 1 else f"at most {_MOST_WORKERS}"
        raise InputError(f"workers must be {wanted}, not {workers}")
    if text in ("local", "pool"):
        return Engine("local", workers)
    if text == "ray":
        return Engine("ray", workers)
    if text.startswith("ray="):
        return Engine("ray", workers, text.removeprefix("ray="))
    raise InputError(f"the engine must be local, ray or ray=ADDRESS, not {text!r}")
