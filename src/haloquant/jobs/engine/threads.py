"""One thread for the sums whose order a thread count would change."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block of code BLAS, OpenMP and torch compute with one thread.

    A matrix product cut among threads may add in another order, and so round otherwise. Numba's loops are left alone:
    they run over channels or tiles, whose sums one thread makes whole.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    with threadpool_limits(1, user_api="blas"):
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


def one_thread_of_numba() -> None:
    """For a worker among others: loops of numba take one thread too."""
    from numba import set_num_threads

    set_num_threads(1)
