"""Measure time, processor time and peak memory of each stage of a long job, in this process and its workers.

On Linux the peak of a stage is the kernel's high-water mark of resident memory, which is reset when the stage begins.
On other systems it is the peak since the process began. The numbers are not written into the model's files, so these
files do not depend on how long the job took.
"""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from haloquant.jobs.engine.tasks import Arrays, Function

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class StageUsage:
    """The time and memory of one stage: in total, or for its layers of one kind.

    `kind` is the last part of the layer's name (e.g. `q_proj`); empty for the stage's total.
    """

    stage: str
    kind: str = ""
    seconds: float = 0.0  # wall-clock time; 0 for a kind, because layers of several kinds run at the same time
    cpu_s: float = 0.0  # processor time of this process and of its workers' tasks
    driver_b: float = 0.0  # peak memory of this process during the stage, bytes
    worker_b: float = 0.0  # largest peak memory of any worker process since it began, bytes; 0 without workers
    weights: int = 0  # number of weights in the layers of this kind


@dataclass(frozen=True)
class TaskUsage:
    """The resources of one task: the process that ran it, its processor time, and the peak memory of that process."""

    process: int
    cpu_s: float
    peak_b: float


class Meter:
    """Adds up the usage of stages. A stage may be entered several times. The outer stage excludes the inner one."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._usage: dict[tuple[str, str], StageUsage] = {}
        self._last = (0.0, 0.0)  # wall-clock and processor time at the last change of stage
        self.most_b = 0.0  # peak memory since this process began, bytes

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of the `with` block as time of the stage `name`."""
        self._close_interval()
        self._open.append(name)
        try:
            yield
        finally:
            self._close_interval()
            self._open.pop()

    def add(self, kind: str, weights: int, used: TaskUsage) -> None:
        """Add a task on one layer to the open stage.

        The stage's own processor time already holds a task that ran in this process; only a worker's task is added.
        """
        stage = self._open[-1]
        in_worker = used.process != os.getpid()
        if in_worker:
            total = self._of(stage, "")
            most = max(total.worker_b, used.peak_b)
            self._usage[stage, ""] = replace(total, cpu_s=total.cpu_s + used.cpu_s, worker_b=most)
        part = self._of(stage, kind)
        most = max(part.worker_b, used.peak_b if in_worker else 0.0)
        cpu_s, weights = part.cpu_s + used.cpu_s, part.weights + weights
        self._usage[stage, kind] = replace(part, cpu_s=cpu_s, worker_b=most, weights=weights)

    def usage(self) -> tuple[StageUsage, ...]:
        """Return all stages in the order in which they were first entered, each followed by its kinds of layers."""
        order = list(dict.fromkeys(stage for stage, _ in self._usage))
        return tuple(sorted(self._usage.values(), key=lambda x: (order.index(x.stage), x.kind)))

    def _of(self, stage: str, kind: str) -> StageUsage:
        return self._usage.get((stage, kind)) or StageUsage(stage, kind)

    def _close_interval(self) -> None:
        """Count the time since the last change of stage, and the peak in it, to the stage that is open."""
        now, peak_b = (time.monotonic(), time.process_time()), peak_memory()
        self.most_b = max(self.most_b, peak_b)
        if self._open:
            total = self._of(self._open[-1], "")
            self._usage[total.stage, ""] = replace(
                total,
                seconds=total.seconds + now[0] - self._last[0],
                cpu_s=total.cpu_s + now[1] - self._last[1],
                driver_b=max(total.driver_b, peak_b),
            )
        with suppress(OSError):
            _RESET.write_text("5")  # resets the kernel's high-water mark to the memory that is held now
        self._last = now


def usage_table(usage: Sequence[StageUsage]) -> list[dict[str, object]]:
    """Return one JSON object for each stage, with its kinds of layers inside. Times in seconds, memory in bytes."""
    return [
        {
            "stage": total.stage,
            "seconds": total.seconds,
            "cpu_seconds": total.cpu_s,
            "peak_bytes": total.driver_b,
            "worker_peak_bytes": total.worker_b,
            "kinds": {
                part.kind: {"cpu_seconds": part.cpu_s, "weights": part.weights}
                for part in usage
                if part.stage == total.stage and part.kind
            },
        }
        for total in usage
        if not total.kind
    ]


def metered(call: tuple[Function, Any], arrays: Arrays) -> tuple[tuple[Any, TaskUsage], Arrays]:
    """A task that runs another task's function and also returns the resources that it used.

    Args:
        call: The function and its small argument.
        arrays: The function's arrays.
    """
    function, argument = call
    began = time.process_time()
    plain, made = function(argument, arrays)
    return (plain, TaskUsage(os.getpid(), time.process_time() - began, peak_memory())), made


def peak_memory() -> float:
    """Return the peak memory of this process, in bytes, since a meter last reset it or since the process began."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
