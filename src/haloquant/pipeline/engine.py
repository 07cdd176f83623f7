"""Where independent tasks run: in this process, in a pool of local processes, or on a Ray cluster.

The results do not depend on the engine: tasks are pure functions of their arguments, and results come back in the order
of the arguments.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from haloquant.errors import InputError, MissingExtraError, ToolError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

RETRIES = 3


@dataclass(frozen=True)
class Engine:
    """`local` runs tasks in `workers` processes (1: in this one); `ray` on the cluster at `address` or a local one."""

    kind: Literal["local", "ray"] = "local"
    workers: int = 1
    address: str | None = None


def parse_engine(text: str, workers: int) -> Engine:
    """`local`, `ray` (a cluster of this machine's own) or `ray://host:port` / `host:port` behind `ray=`.

    Raises:
        InputError: none of these.
    """
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}")
    if text == "local":
        return Engine("local", workers)
    if text == "ray":
        return Engine("ray", workers)
    if text.startswith("ray="):
        return Engine("ray", workers, text.removeprefix("ray="))
    raise InputError(f"the engine must be local, ray or ray=ADDRESS, not {text!r}")


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
    if engine.kind == "ray":
        return _on_ray(function, arguments, engine, progress)
    if engine.workers == 1 or len(arguments) < 2:
        results: list[Result] = []
        for done, argument in enumerate(arguments):
            results.append(function(argument))
            progress(done + 1, len(arguments))
        return results
    return _in_pool(function, arguments, engine.workers, progress)


def _in_pool(
    function: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    workers: int,
    progress: Callable[[int, int], None],
) -> list[Result]:
    """Local processes, started fresh: a forked torch or OpenMP may hang."""
    found: dict[int, Result] = {}
    for attempt in range(RETRIES):
        left = [i for i in range(len(arguments)) if i not in found]
        try:
            with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
                futures = {pool.submit(function, arguments[i]): i for i in left}
                for future in as_completed(futures):
                    found[futures[future]] = future.result()
                    progress(len(found), len(arguments))
            break
        except BrokenProcessPool as error:  # a worker was killed, for memory most likely; what is done is kept
            if attempt == RETRIES - 1:
                raise ToolError(
                    f"worker processes were killed {RETRIES} times (out of memory?); use fewer with --workers"
                ) from error
    return [found[i] for i in range(len(arguments))]


def _on_ray(
    function: Callable[[Argument], Result],
    arguments: Sequence[Argument],
    engine: Engine,
    progress: Callable[[int, int], None],
) -> list[Result]:
    """Ray tasks: a worker or node that is lost has its tasks run again elsewhere."""
    try:
        import ray
        from ray.exceptions import RayTaskError, WorkerCrashedError
    except ImportError as error:
        raise MissingExtraError("the Ray engine needs Ray: pip install 'haloquant[ray]'") from error
    started = not ray.is_initialized()
    if started:
        settings: dict[str, Any] = {"address": engine.address} if engine.address else {"num_cpus": engine.workers}
        try:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False, **settings)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ToolError(f"the Ray cluster at {engine.address or 'this machine'} must answer: {error}") from error
    try:
        task = ray.remote(max_retries=RETRIES, num_cpus=1)(function)
        places = {task.remote(argument): i for i, argument in enumerate(arguments)}
        found: dict[int, Result] = {}
        waiting = list(places)
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1)
            for reference in ready:
                found[places[reference]] = ray.get(reference)
            progress(len(found), len(arguments))
    except WorkerCrashedError as error:
        raise ToolError(f"a Ray worker died {RETRIES + 1} times on the same task: {error}") from error
    except RayTaskError as error:
        raise error.as_instanceof_cause() from None
    finally:
        if started:
            ray.shutdown()
    return [found[i] for i in range(len(arguments))]
