"""Limit BLAS to one thread, from any Python thread.

In most BLAS the number of threads holds for the whole process; in those built on OpenMP it holds for one Python thread.
threadpoolctl lets one Python thread change OpenBLAS and silently ignores the others. So all changes of this package go
through this module: they are made directly, one at a time, and the number is restored after the last user has ended.
"""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Lock
from typing import Any

import numpy as np
import scipy.linalg  # noqa: F401 - scipy's BLAS must be loaded before the line that looks for it
from threadpoolctl import ThreadpoolController

_BLAS = ThreadpoolController().select(user_api="blas").lib_controllers
_CHANGED = Lock()  # held while the number of BLAS threads is changed
_users = 0  # open `one_blas_thread` blocks of all Python threads
_before: list[int] = []  # threads of each BLAS before the first of these blocks
_touched = 0  # buffers of BLAS that `_touch_buffers` has prepared in this process


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Give BLAS one thread inside the `with` block.

    Blocks may be nested and may be open in several Python threads. A product that uses several threads is finished
    before the block begins. The number of threads is restored when the last block ends.
    """
    global _users, _before
    with _CHANGED:
        own = _get_threads()
        if _users == 0:
            _before = own
        _users += 1
        _set_threads([1] * len(own))
    try:
        yield
    finally:
        with _CHANGED:
            _users -= 1
            _set_threads([first if _users == 0 else 1 for first in _before])
            for library, count in zip(_BLAS, own, strict=True):
                if _by_python_thread(library):
                    _set(library, count)


@contextmanager
def band_workers() -> Iterator[Executor | None]:
    """Give BLAS one thread inside the `with` block, and yield as many Python threads as BLAS may use.

    None is yielded if BLAS may use one thread only. Callers that may use several wait for each other.
    """
    with _CHANGED:
        before = _get_threads()
        if any(count != 1 for count in before):
            ones = [1] * len(before)
            try:
                _set_threads(ones)
                with ThreadPoolExecutor(min(before), initializer=_set_threads, initargs=(ones,)) as workers:
                    _touch_buffers(min(before), workers)
                    yield workers
            finally:
                _set_threads(before)
            return
        _touch_buffers(1, None)
    with one_blas_thread():  # another Python thread may end its block in the meantime
        yield None


def _touch_buffers(count: int, workers: Executor | None) -> None:
    """Let BLAS touch its working buffers for the first time in a square product, once in a process.

    OpenBLAS copies parts of its operands into a buffer, one for each product that runs at the same time. If a product
    of at most about 128 columns is the first to touch a buffer, products of this shape stay three times slower until
    the process ends (seen with OpenBLAS 0.3.31 on AMD Zen). The square product below takes 3 ms.
    """
    global _touched
    if _touched >= count:
        return
    _touched = count
    together = Barrier(count)

    def touch(_: int) -> None:
        together.wait()  # the buffers of products that run one after the other are one buffer
        np.matmul(np.ones((1024, 16), np.float32), np.ones((16, 1024), np.float32))

    if workers is None:
        touch(0)
    else:
        list(workers.map(touch, range(count)))


def _get_threads() -> list[int]:
    return [library.get_num_threads() for library in _BLAS]


def _set_threads(counts: list[int]) -> None:
    for library, count in zip(_BLAS, counts, strict=True):
        _set(library, count)


def _set(library: Any, count: int) -> None:
    """Set the threads of a BLAS without the check of threadpoolctl that this Python thread may do so."""
    getattr(library, "_real_set_num_threads", library.set_num_threads)(count)


def _by_python_thread(library: Any) -> bool:
    """Return whether the number of threads of a BLAS holds for one Python thread only."""
    return getattr(library, "threading_layer", "") == "openmp"
