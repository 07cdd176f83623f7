"""Tasks of this process: order, threads, progress, and the errors of a task."""

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

from haloquant.errors import InputError, MissingExtraError
from haloquant.jobs.engine.ray_cluster import open_cluster
from haloquant.jobs.engine.session import InProcess, open_session, run_tasks
from haloquant.jobs.engine.tasks import Arrays, Engine, Work
from support.engine_tasks import refuse, square


def _scaled(factor: int, arrays: Arrays) -> tuple[int, Arrays]:
    return torch.get_num_threads(), {name: factor * array for name, array in arrays.items()}


def test_one_worker_runs_tasks_here_one_after_another_with_one_thread() -> None:
    read: list[int] = []

    def works() -> Iterator[Work]:
        for factor in (2, 3):
            read.append(factor)
            yield Work(factor, {"x": np.array([1, 10])})

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with open_session(Engine()) as session:
            assert isinstance(session, InProcess)
            results = session.run(_scaled, works())
            index, threads, arrays = next(results)
            assert (index, threads, arrays["x"].tolist(), read) == (0, 1, [2, 20], [2])
            index, threads, arrays = next(results)
            assert (index, threads, arrays["x"].tolist()) == (1, 1, [3, 30])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_arguments_with_progress() -> None:
    seen: list[tuple[int, int]] = []
    assert run_tasks(square, [3, 1, 2], Engine(), lambda done, total: seen.append((done, total))) == [9, 1, 4]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert run_tasks(square, [], Engine(workers=4)) == []


def test_one_task_starts_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("processes were started")

    monkeypatch.setattr("haloquant.jobs.engine.local_pool.open_pool", fail)
    assert run_tasks(square, [4], Engine(workers=8)) == [16]


def test_the_error_of_a_task_is_the_error_of_the_run() -> None:
    with pytest.raises(InputError, match=r"^0 must be something else$"):
        run_tasks(refuse, range(2), Engine())


def test_a_folder_that_is_called_ray_is_not_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))  # as Python imports a folder without __init__.py
    with pytest.raises(MissingExtraError, match="the Ray engine needs Ray: pip install"), open_cluster(1, None):
        raise AssertionError("there is no cluster")
