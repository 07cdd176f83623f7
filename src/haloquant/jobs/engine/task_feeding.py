"""The loop that feeds tasks to workers: it is the same for the local pool and for the Ray cluster."""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from haloquant.jobs.engine.tasks import Arrays, Work

Handle = TypeVar("Handle", bound=Hashable)


@dataclass(frozen=True)
class SentAgain(Generic[Handle]):
    """The worker of a task was lost, and the task was sent again under this handle."""

    handle: Handle


@runtime_checkable
class Workers(Protocol[Handle]):
    """How the feeding loop talks to workers. A handle identifies one task that was sent."""

    def send(self, work: Work) -> Handle:
        """Send one task."""
        ...

    def wait(self, pending: Collection[Handle]) -> Iterable[Handle]:
        """Wait until at least one of the pending tasks has ended, and return those that have."""
        ...

    def receive(self, handle: Handle) -> tuple[Any, Arrays] | SentAgain[Handle]:
        """Return the result of a task that has ended, or its new handle if it must run again."""
        ...


def feed(
    workers: Workers[Handle], count: Callable[[Work], int], works: Iterable[Work]
) -> Iterator[tuple[int, Any, Arrays]]:
    """Yield (number of the task, small result, arrays) as tasks end.

    At most one task more is sent and not yet received than there are workers for the last of them: one for each
    worker, and one extra task in the queue so that no worker idles. So `works`, whose arrays may be large, is read only
    that far ahead.

    Args:
        workers: Sends tasks and receives results.
        count: Returns the number of workers that can run a task.
        works: The tasks, numbered from 0 in this order.
    """
    source = enumerate(works)
    pending: dict[Handle, int] = {}
    most = 0
    while True:
        while len(pending) <= most and (following := next(source, None)) is not None:
            index, work = following
            pending[workers.send(work)] = index
            most = count(work)
        if not pending:
            return
        for handle in workers.wait(pending):
            index = pending.pop(handle)
            received = workers.receive(handle)
            if isinstance(received, SentAgain):
                pending[received.handle] = index
            else:
                yield index, *received
