"""Open the workers of an engine, and run functions on them.

The results do not depend on the engine. Every task computes with one thread wherever it runs (`threads.one_thread`),
and a caller that sums results does so in the order of the tasks, not in the order in which they end.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from haloquant.jobs.engine.tasks import THIS_PROCESS, Arrays, Engine, Function, Session, Work
from haloquant.jobs.engine.threads import one_thread

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class InProcess:
    """A session that runs tasks in this process, one after another."""

    workers = 1

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """See `tasks.Session`."""
        for index, work in enumerate(works):
            with one_thread():
                plain, arrays = function(work.argument, work.arrays)
            yield index, plain, arrays


@contextmanager
def open_session(engine: Engine, scratch: Path | None = None) -> Iterator[Session]:
    """Start the workers of an engine, and stop them at the end of the `with` block.

    Args:
        engine: Where tasks run.
        scratch: Folder for the array files of a local pool; None takes the system's folder for temporary files.

    Raises:
        ToolError: A worker died and the retries did not help, or the cluster does not answer.
        MissingExtraError: The engine is Ray, and Ray is not installed.
    """
    if engine.kind == "ray":
        from haloquant.jobs.engine.ray_cluster import open_cluster

        with open_cluster(engine.workers, engine.address) as session:
            yield session
    elif engine.workers == 1:
        yield InProcess()
    else:
        from haloquant.jobs.engine.local_pool import open_pool

        with open_pool(engine.workers, scratch, engine.devices) as session:
            yield session


def run_tasks(
    function: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    engine: Engine,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Result]:
    """Return `function` of every argument, in the order of the arguments.

    `function` must be importable by its name. A lost worker is replaced and its task run again.

    Raises:
        ToolError: A worker died and the retries did not help.
        MissingExtraError: The engine is Ray, and Ray is not installed.
    """
    if engine.kind == "local" and len(arguments) < 2:
        engine = THIS_PROCESS
    found: dict[int, Result] = {}
    with open_session(engine) as session:
        for index, plain, _ in session.run(_call, [Work((function, argument)) for argument in arguments]):
            found[index] = plain
            progress(len(found), len(arguments))
    return [found[index] for index in range(len(arguments))]


def _call(call: tuple[Callable[[Argument], Result], Argument], _: Arrays) -> tuple[Result, Arrays]:
    """A task that calls a function without arrays."""
    function, argument = call
    return function(argument), {}
