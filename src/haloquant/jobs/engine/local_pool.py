"""Tasks in local processes. Arrays travel in safetensors files of a scratch folder, not through pipes."""

import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from haloquant.errors import ToolError
from haloquant.jobs.engine.session import RETRIES, Arrays, Function, Work
from haloquant.jobs.engine.threads import one_thread, one_thread_of_numba
from haloquant.store.arrays import load_arrays, save_arrays


@dataclass(frozen=True)
class _Call:
    """One task as it is sent: where its arrays lie (None: it has none) and where its result's shall."""

    index: int
    function: Function
    argument: Any
    arrays: Path | None
    result: Path


class Pool:
    """Processes started fresh, as a forked torch or OpenMP may hang; a lost one has its task run again."""

    def __init__(self, workers: int, scratch: Path) -> None:
        self.workers, self._scratch = workers, scratch
        self._number, self._breaks, self._generation = 0, 0, 0
        self._pool = self._start()

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """See `engine.Session`."""
        source = enumerate(works)
        waiting: dict[Future[Any], tuple[_Call, int]] = {}
        while True:
            for index, work in islice(source, self.workers + 1 - len(waiting)):  # one waits beside those at work
                self._send(self._call(function, index, work), waiting)
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                call, generation = waiting.pop(future)
                try:
                    plain, has_arrays = future.result()
                except BrokenProcessPool as error:  # killed, for memory most likely; what is done is kept
                    self._renew(generation, error)
                    self._send(call, waiting)
                    continue
                self._breaks = 0
                arrays = load_arrays(call.result) if has_arrays else {}
                for file in (call.arrays, call.result):
                    if file is not None:
                        file.unlink(missing_ok=True)
                yield call.index, plain, arrays

    def close(self, at_once: bool) -> None:
        """Let the processes go."""
        self._pool.shutdown(wait=not at_once, cancel_futures=True)

    def _call(self, function: Function, index: int, work: Work) -> _Call:
        self._number += 1
        given = None
        if work.arrays:
            given = self._scratch / f"{self._number}.safetensors"
            save_arrays(given, work.arrays)
        return _Call(index, function, work.argument, given, self._scratch / f"{self._number}-made.safetensors")

    def _send(self, call: _Call, waiting: dict[Future[Any], tuple[_Call, int]]) -> None:
        while True:
            try:
                waiting[self._pool.submit(_work, call)] = (call, self._generation)
                return
            except BrokenProcessPool as error:
                self._renew(self._generation, error)

    def _renew(self, generation: int, error: BrokenProcessPool) -> None:
        """Start new processes in place of those of `generation`, unless that was done."""
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
        return ProcessPoolExecutor(
            self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
        )


@contextmanager
def in_pool(workers: int, scratch: Path | None) -> Iterator[Pool]:
    """A pool for the time of the block of code; `scratch` is a folder for arrays, the system's own where None."""
    with tempfile.TemporaryDirectory(prefix="pool-", dir=scratch) as folder:
        pool = Pool(workers, Path(folder))
        try:
            yield pool
        except BaseException:
            pool.close(at_once=True)
            raise
        pool.close(at_once=False)


def _begin_worker() -> None:
    """One thread each, and no life beyond the parent's: a killed parent cannot tell its workers to end."""
    one_thread_of_numba()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(call: _Call) -> tuple[Any, bool]:
    arrays = {} if call.arrays is None else load_arrays(call.arrays)
    with one_thread():
        plain, made = call.function(call.argument, arrays)
    if made:
        save_arrays(call.result, made)
    return plain, bool(made)
