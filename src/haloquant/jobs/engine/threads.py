"""Limit libraries to one thread where the number of threads would change the order of a sum."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from haloquant.quant.rounding.blas_threads import one_blas_thread


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS and torch compute with one thread within the `with` block.

    A matrix product that is split among threads may add in another order and so round differently. Numba's parallel
    loops keep their threads: each iteration is a channel or a tile, and one thread computes its whole sum.
    """
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch is not None else 1
    with one_blas_thread():
        if torch is not None:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            if torch is not None:
                torch.set_num_threads(before)


def one_numba_thread() -> None:
    """Let numba's parallel loops use one thread in this process, which is one worker of several."""
    from numba import set_num_threads

    set_num_threads(1)
