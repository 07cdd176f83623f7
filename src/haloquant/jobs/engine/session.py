"""Where independent tasks run: in this process, in a pool of local processes, or on a Ray cluster.

A task is a function that can be imported by its name, a small argument, and named arrays of any size; it returns a
small result and named arrays. The results do not depend on the engine: a task computes with one thread wherever it
runs (`limits.one_thread`), and whoever adds results up does it in the order of the tasks, not of their ends.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from haloquant.errors import InputError
from haloquant.jobs.engine.threads import one_thread

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Arrays = Mapping[str, np.ndarray]
Function = Callable[[Any, Arrays], tuple[Any, Arrays]]

RETRIES = 3


@dataclass(frozen=True)
class Engine:
    """`local` runs tasks in `workers` processes (1: in this one); `ray` on the cluster at `address` or a local one."""

    kind: Literal["local", "ray"] = "local"
    workers: int = 1
    address: str | None = None


HERE = Engine()


@dataclass(frozen=True)
class Work:
    """What one task is given: a small argument, and arrays that travel in files or pieces."""

    argument: Any
    arrays: Arrays = field(default_factory=dict)


@runtime_checkable
class Session(Protocol):
    """Workers that stand ready. `run` may be called while another `run` is not yet read to its end."""

    workers: int

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """Yield (number of the task, small result, arrays) as tasks end; `works` is read a few tasks ahead."""
        ...


class Here:
    """Tasks in this process, one after another."""

    workers = 1

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """See `Session`."""
        for index, work in enumerate(works):
            with one_thread():
                plain, arrays = function(work.argument, work.arrays)
            yield index, plain, arrays


def parse_engine(text: str, workers: int) -> Engine:
    """`local` or `pool` (processes of this machine), `ray` (a cluster of this machine's own) or `ray=host:port`.

    Raises:
        InputError: none of these.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    if text in ("local", "pool"):
        return Engine("local", workers)
    if text == "ray":
        return Engine("ray", workers)
    if text.startswith("ray="):
        return Engine("ray", workers, text.removeprefix("ray="))
    raise InputError(f"the engine must be local, ray or ray=ADDRESS, not {text!r}")


@contextmanager
def open_session(engine: Engine, scratch: Path | None = None) -> Iterator[Session]:
    """Start the workers for the time of the block of code; `scratch` is where a pool's arrays travel.

    Raises:
        ToolError: a worker died and the retries did not help, or the cluster does not answer.
        MissingExtraError: Ray is asked for and not installed.
    """
    if engine.kind == "ray":
        from haloquant.jobs.engine.ray_cluster import on_ray

        with on_ray(engine.workers, engine.address) as session:
            yield session
    elif engine.workers == 1:
        yield Here()
    else:
        from haloquant.jobs.engine.local_pool import in_pool

        with in_pool(engine.workers, scratch) as session:
            yield session


def run_tasks(
    function: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    engine: Engine,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Return `function` of every argument, in order. `function` must be importable by name; a lost worker is replaced.

    Raises:
        ToolError: a worker died and the retries did not help.
        MissingExtraError: Ray is asked for and not installed.
    """
    if engine.kind == "local" and len(arguments) < 2:
        engine = Engine()
    found: dict[int, Result] = {}
    with open_session(engine) as session:
        for index, plain, _ in session.run(_plain, [Work((function, argument)) for argument in arguments]):
            found[index] = plain
            progress(len(found), len(arguments))
    return [found[index] for index in range(len(arguments))]


def _plain(call: tuple[Callable[[Argument], Result], Argument], _: Arrays) -> tuple[Result, Arrays]:
    function, argument = call
    return function(argument), {}
