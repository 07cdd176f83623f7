"""Limits of threads hold in the Python thread that asks for them and end with the block."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from haloquant.jobs.engine.threads import one_thread

LIBRARIES = ThreadpoolController().select(user_api="blas").lib_controllers


def blas_threads() -> set[int]:
    with one_thread():
        return {library.get_num_threads() for library in LIBRARIES}


def test_blas_has_one_thread_in_every_python_thread() -> None:
    with threadpool_limits(2, user_api="blas"), ThreadPoolExecutor(1) as other:
        assert blas_threads() == {1}
        assert other.submit(blas_threads).result() == {1}
        assert {library.get_num_threads() for library in LIBRARIES} == {2}


def test_torch_has_one_thread_within_the_block() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="inside"), one_thread():
            raise ValueError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
