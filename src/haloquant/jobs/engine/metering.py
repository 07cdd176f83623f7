"""What the stages of a long job take: time, processor time and most memory, of this process and of its workers.

The peak of a stage is the kernel's own high-water mark, set back at the stage's begin (Linux); elsewhere it is the most
since the process began. Nothing of this is written beside a model: its files are the same however long they took.
"""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from haloquant.jobs.engine.session import Arrays, Function

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Spent:
    """What one stage took. `kind` is of layers, by the end of their names; none is the whole stage."""

    stage: str
    kind: str = ""
    seconds: float = 0.0  # on the clock; of a kind none, as its tasks run beside others
    cpu_s: float = 0.0  # of this process and of the tasks of its workers
    driver_b: float = 0.0  # most memory of this process meanwhile
    worker_b: float = 0.0  # most of any worker since it began, where there were workers
    weights: int = 0  # of the layers of a kind


@dataclass(frozen=True)
class Taken:
    """What one task took."""

    process: int
    cpu_s: float
    peak_b: float


class Meter:
    """Adds up what stages take, however often they are entered. A stage within a stage counts as itself alone."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._spent: dict[tuple[str, str], Spent] = {}
        self._mark = (0.0, 0.0)
        self.most_b = 0.0  # since this process began

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block of code as this stage's."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def add(self, kind: str, weights: int, taken: Taken) -> None:
        """Count a task on a layer of a kind to the open stage; its time is the stage's own unless a worker did it."""
        stage = self._open[-1]
        apart = taken.process != os.getpid()
        if apart:
            whole = self._of(stage, "")
            most = max(whole.worker_b, taken.peak_b)
            self._spent[stage, ""] = replace(whole, cpu_s=whole.cpu_s + taken.cpu_s, worker_b=most)
        part = self._of(stage, kind)
        most = max(part.worker_b, taken.peak_b if apart else 0.0)
        cpu_s, weights = part.cpu_s + taken.cpu_s, part.weights + weights
        self._spent[stage, kind] = replace(part, cpu_s=cpu_s, worker_b=most, weights=weights)

    def spent(self) -> tuple[Spent, ...]:
        """Every stage in the order in which they were entered first, each followed by its kinds of layers."""
        order = list(dict.fromkeys(stage for stage, _ in self._spent))
        return tuple(sorted(self._spent.values(), key=lambda x: (order.index(x.stage), x.kind)))

    def _of(self, stage: str, kind: str) -> Spent:
        return self._spent.get((stage, kind)) or Spent(stage, kind)

    def _turn(self) -> None:
        """Give the time since the last turn, and its peak, to the stage that is open."""
        now, peak_b = (time.monotonic(), time.process_time()), peak_memory()
        self.most_b = max(self.most_b, peak_b)
        if self._open:
            was = self._of(self._open[-1], "")
            self._spent[was.stage, ""] = replace(
                was,
                seconds=was.seconds + now[0] - self._mark[0],
                cpu_s=was.cpu_s + now[1] - self._mark[1],
                driver_b=max(was.driver_b, peak_b),
            )
        with suppress(OSError):
            _RESET.write_text("5")  # the high-water mark begins anew at what is held now
        self._mark = now


def by_stage(spent: Sequence[Spent]) -> list[dict[str, object]]:
    """Stages as plain values, the kinds of layers within them."""
    return [
        {
            "stage": whole.stage,
            "seconds": whole.seconds,
            "cpu_seconds": whole.cpu_s,
            "peak_bytes": whole.driver_b,
            "worker_peak_bytes": whole.worker_b,
            "kinds": {
                part.kind: {"cpu_seconds": part.cpu_s, "weights": part.weights}
                for part in spent
                if part.stage == whole.stage and part.kind
            },
        }
        for whole in spent
        if not whole.kind
    ]


def metered(call: tuple[Function, Any], arrays: Arrays) -> tuple[tuple[Any, Taken], Arrays]:
    """A task that does a function's task and says what it took."""
    function, argument = call
    began = time.process_time()
    plain, made = function(argument, arrays)
    return (plain, Taken(os.getpid(), time.process_time() - began, peak_memory())), made


def peak_memory() -> float:
    """Most memory of this process since a meter last turned, or since it began, in bytes."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
