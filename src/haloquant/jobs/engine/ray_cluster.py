"""Tasks on a Ray cluster. Arrays travel through the object store in pieces, so that no object is large.

A worker or node that is lost has its tasks run again elsewhere; the driver owns what tasks are given, so that the loss
of a worker loses no argument.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, no_type_check

import numpy as np

from haloquant.errors import MissingExtraError, ToolError
from haloquant.jobs.engine.session import RETRIES, Arrays, Function, Work
from haloquant.jobs.engine.threads import one_thread, one_thread_of_numba

PIECE_BYTES = 64 << 20


@dataclass(frozen=True)
class Layout:
    """How an array was cut: its name, type, shape, and the number of its pieces."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: int


def cut(arrays: Arrays, most_bytes: int = PIECE_BYTES) -> tuple[list[Layout], list[np.ndarray]]:
    """Arrays as flat pieces of at most `most_bytes`, and how to join them."""
    layout: list[Layout] = []
    pieces: list[np.ndarray] = []
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array).reshape(-1)
        step = max(1, most_bytes // flat.itemsize)
        parts = [flat[first : first + step] for first in range(0, max(flat.size, 1), step)]
        layout.append(Layout(name, flat.dtype.str, array.shape, len(parts)))
        pieces += parts
    return layout, pieces


def join(layout: Sequence[Layout], pieces: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays again, in memory of their own."""
    source = iter(pieces)
    arrays: dict[str, np.ndarray] = {}
    for part in layout:
        flat = np.empty(int(np.prod(part.shape)), np.dtype(part.dtype))
        first = 0
        for _ in range(part.pieces):
            piece = next(source)
            flat[first : first + piece.size] = piece
            first += piece.size
        arrays[part.name] = flat.reshape(part.shape)
    return arrays


class Ray:
    """Tasks on the cluster that `ray` is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._task = ray.remote(num_returns="streaming", max_retries=RETRIES, num_cpus=1)(_work)

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """See `engine.Session`."""
        source = enumerate(works)
        waiting: dict[Any, int] = {}
        while True:
            for index, work in islice(source, self.workers + 1 - len(waiting)):  # one waits beside those at work
                waiting[self._send(function, work)] = index
            if not waiting:
                return
            ready, _ = self._ray.wait(list(waiting), num_returns=1)
            for stream in ready:
                index = waiting.pop(stream)
                yield index, *self._receive(stream)

    def _send(self, function: Function, work: Work) -> Any:
        layout, pieces = cut(work.arrays)
        references = [self._ray.put(piece) for piece in pieces]
        return self._task.remote(function, work.argument, layout, *references)

    def _receive(self, stream: Any) -> tuple[Any, Arrays]:
        from ray.exceptions import RayError, RayTaskError

        try:
            plain, layout = self._ray.get(next(stream))
            return plain, join(layout, (self._ray.get(reference) for reference in stream))
        except RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise ToolError(f"a task on the Ray cluster failed: {error}") from None
        except RayError as error:
            raise ToolError(f"a Ray worker died {RETRIES + 1} times on the same task: {error}") from error


@contextmanager
def on_ray(workers: int, address: str | None) -> Iterator[Ray]:
    """A session on the cluster at `address`, or on one of this machine with so many workers.

    Raises:
        MissingExtraError: Ray is not installed.
        ToolError: the cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("the Ray engine needs Ray: pip install 'haloquant[ray]'") from error
    started = not ray.is_initialized()
    if started:
        settings: dict[str, Any] = {"address": address} if address else {"num_cpus": workers}
        try:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False, **settings)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ToolError(f"the Ray cluster at {address or 'this machine'} must answer: {error}") from error
    try:
        yield Ray(ray)
    finally:
        if started:
            ray.shutdown()


@no_type_check  # the tests' checking hook would wrap it, and Ray wants to see a generator
def _work(function: Function, argument: Any, layout: Sequence[Layout], *pieces: np.ndarray) -> Iterator[Any]:
    """One task: its small result with the layout of its arrays, then their pieces."""
    one_thread_of_numba()
    with one_thread():
        plain, made = function(argument, join(layout, pieces))
    made_layout, parts = cut(made)
    yield plain, made_layout
    for part in parts:  # noqa: UP028  Ray sends into the generator, which a list's iterator does not take
        yield part
