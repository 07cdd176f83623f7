"""Run tasks in processes of this machine. Arrays are passed in safetensors files of a scratch folder, not in pipes."""

import multiprocessing
import os
import re
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

from haloquant.errors import ToolError
from haloquant.jobs.engine.task_feeding import SentAgain, feed
from haloquant.jobs.engine.tasks import RETRIES, Arrays, Function, Work
from haloquant.jobs.engine.threads import one_numba_thread, one_thread
from haloquant.jobs.engine.worker_device import bind_device, sharing
from haloquant.store.arrays import load_arrays, save_arrays

Answer = Future[tuple[Any, bool]]
# Modules of this process that the workers find imported: ours, with what they import, and the classes of models.
_IMPORTED_ONCE = re.compile(r"haloquant\.(?!cli\b)|transformers\.models\.\w+\.modeling_")


@dataclass(frozen=True)
class _Call:
    """A task as it is sent, with the file of its arrays (None without arrays) and the file for the returned arrays."""

    function: Function
    argument: Any
    arrays: Path | None
    result: Path


class Pool:
    """A session of local worker processes.

    `_context` says how processes start. If a process is lost, its task runs again in a new one.
    """

    def __init__(self, workers: int, scratch: Path, devices: Sequence[str] = ()) -> None:
        self.workers, self._scratch, self._devices = workers, scratch, devices
        self._number = 0  # number of the next array file
        self._breaks = 0  # how often processes were lost since the last result
        self._generation = 0  # generation of the processes; it increases when lost ones are replaced
        self._sent: dict[Answer, tuple[_Call, int]] = {}  # each task, and the generation it was sent to
        self._pool = self._start()

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """See `tasks.Session`."""
        return feed(_Sender(self, function), lambda _: self.workers, works)

    def close(self, at_once: bool) -> None:
        """Stop the processes; `at_once` does not wait for their tasks to end."""
        self._pool.shutdown(wait=not at_once, cancel_futures=True)

    def send(self, function: Function, work: Work) -> Answer:
        """Write the task's arrays to the scratch folder and submit the task."""
        self._number += 1
        given = None
        if work.arrays:
            given = self._scratch / f"{self._number}.safetensors"
            save_arrays(given, work.arrays)
        return self._submit(_Call(function, work.argument, given, self._scratch / f"{self._number}-result.safetensors"))

    def receive(self, answer: Answer) -> tuple[Any, Arrays] | SentAgain[Answer]:
        """Return the task's result, or send the task again if its process was lost."""
        call, generation = self._sent.pop(answer)
        try:
            plain, has_arrays = answer.result()
        except BrokenProcessPool as error:  # the process was killed, most likely for lack of memory
            self._replace_processes(generation, error)
            return SentAgain(self._submit(call))
        self._breaks = 0
        arrays = load_arrays(call.result) if has_arrays else {}
        for file in (call.arrays, call.result):
            if file is not None:
                file.unlink(missing_ok=True)
        return plain, arrays

    def _submit(self, call: _Call) -> Answer:
        while True:
            try:
                answer = self._pool.submit(_run_in_worker, call)
            except BrokenProcessPool as error:
                self._replace_processes(self._generation, error)
                continue
            self._sent[answer] = (call, self._generation)
            return answer

    def _replace_processes(self, generation: int, error: BrokenProcessPool) -> None:
        """Start new processes in place of those of `generation`, unless that was done already."""
        if generation != self._generation:
            return
        self._breaks += 1
        if self._breaks == RETRIES:
            raise ToolError(
                f"worker processes were killed {RETRIES} times (out of memory?); use fewer with --workers"
            ) from error
        self._generation += 1
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        context, places = _context(), None
        if self._devices:
            places = context.SimpleQueue()  # each worker takes one entry when it starts
            for index in range(self.workers):
                number = index % len(self._devices)
                alone = number > 0 and self.workers <= len(self._devices)  # the first is this process's own, too
                places.put((self._devices[number], None if alone else device_lock(self._scratch, number)))
        return ProcessPoolExecutor(
            self.workers, mp_context=context, initializer=_start_worker, initargs=(dict(os.environ), places)
        )


@dataclass(frozen=True)
class _Sender:
    """The calls that the feeding loop makes during one `run` of a pool."""

    pool: Pool
    function: Function

    def send(self, work: Work) -> Answer:
        return self.pool.send(self.function, work)

    def wait(self, pending: Collection[Answer]) -> Iterable[Answer]:
        return wait(pending, return_when=FIRST_COMPLETED).done

    def receive(self, handle: Answer) -> tuple[Any, Arrays] | SentAgain[Answer]:
        return self.pool.receive(handle)


@contextmanager
def open_pool(workers: int, scratch: Path | None, devices: Sequence[str] = ()) -> Iterator[Pool]:
    """Open a pool for the `with` block.

    Args:
        workers: number of processes.
        scratch: where arrays are passed; a temporary folder if it is None.
        devices: the GPUs of the workers, in turn; with more workers than devices, those of a device take turns on it.
            This process takes turns on the first.
    """
    with tempfile.TemporaryDirectory(prefix="pool-", dir=scratch) as folder:
        pool = Pool(workers, Path(folder), devices)
        try:
            with sharing(device_lock(Path(folder), 0)) if devices else nullcontext():
                yield pool
        except BaseException:
            pool.close(at_once=True)
            raise
        pool.close(at_once=False)


def device_lock(scratch: Path, number: int) -> Path:
    """Return the lock file of those who share a device of a pool."""
    return scratch / f"device-{number}.lock"


def _context() -> BaseContext:
    """Return how the worker processes start: as copies of a process that has only imported modules.

    To import torch and transformers takes seconds, and this way it is done once for all workers of this process, also
    for those that replace lost ones. A copy is safe because imports start no threads; a copy of this process is not,
    because torch and OpenMP can hang in it. Where there is a GPU each worker is a new process, because an import may
    open the driver, which does not work in a copy; so it is where the system has no such copies.
    """
    torch = sys.modules.get("torch")
    copies = "forkserver" in multiprocessing.get_all_start_methods()
    if not copies or (torch is not None and torch.cuda.is_available()):
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if _IMPORTED_ONCE.match(name)])
    return context


def _start_worker(environment: Mapping[str, str], places: "SimpleQueue[tuple[str, Path | None]] | None") -> None:
    """Set up a new worker process: it has one numba thread, and it ends as soon as the parent process ends.

    A parent that is killed cannot tell its workers to end, so each worker watches its parent in a thread.

    Args:
        environment: The parent's variables at the start of the worker.
        places: The devices of the workers with the lock files of shared ones; None where tasks name their device.
    """
    os.environ.update(environment)
    if places is not None:
        bind_device(*places.get())
    one_numba_thread()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run_in_worker(call: _Call) -> tuple[Any, bool]:
    """Run one task in the worker process: return its small result, and whether it wrote a file of arrays."""
    arrays = {} if call.arrays is None else load_arrays(call.arrays)
    with one_thread():
        plain, made = call.function(call.argument, arrays)
    if made:
        save_arrays(call.result, made)
    return plain, bool(made)
