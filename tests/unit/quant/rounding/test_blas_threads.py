"""One BLAS thread inside the block, whichever Python thread opens it, and the old number after the last block."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from haloquant.quant.rounding.blas_threads import band_workers, one_blas_thread

LIBRARIES = ThreadpoolController().select(user_api="blas").lib_controllers


def counts() -> set[int]:
    return {library.get_num_threads() for library in LIBRARIES}


def limited() -> set[int]:
    with one_blas_thread():
        return counts()


def test_it_holds_in_a_thread_that_threadpoolctl_would_ignore() -> None:
    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(1) as other:  # the main thread controls OpenBLAS
        assert counts() == {2}
        assert other.submit(limited).result() == {1}
        assert counts() == {2}


def test_blocks_that_overlap_in_two_threads_keep_one_thread_until_the_last_ends() -> None:
    opened, close = Event(), Event()

    def hold() -> set[int]:
        with one_blas_thread():
            opened.set()
            assert close.wait(60)
            return counts()

    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(1) as other:
        with one_blas_thread():
            held = other.submit(hold)
            assert opened.wait(60)
        assert counts() == {1}
        close.set()
        assert held.result() == {1}
        assert counts() == {2}


def test_blocks_may_be_nested_and_an_error_restores_the_number() -> None:
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ValueError, match="inside"), one_blas_thread():
            with one_blas_thread():
                assert counts() == {1}
            assert counts() == {1}
            raise ValueError("inside")
        assert counts() == {2}


def test_a_product_within_a_block_gets_no_workers_and_leaves_one_thread() -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread():
            with band_workers() as workers:
                assert workers is None and counts() == {1}
            assert counts() == {1}
        with band_workers() as workers:
            assert workers is not None and counts() == {1}
        assert counts() == {2}
