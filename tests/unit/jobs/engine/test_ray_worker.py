"""A task of a Ray worker gets its arrays in pieces and returns its own in pieces."""

import numpy as np

from haloquant.jobs.engine import worker_device
from haloquant.jobs.engine.array_pieces import cut, join
from haloquant.jobs.engine.ray_worker import run_ray_task
from haloquant.jobs.engine.tasks import Arrays


def _doubled(argument: str, arrays: Arrays) -> tuple[str, Arrays]:
    return argument.upper(), {name: 2 * array for name, array in arrays.items()}


def test_pieces_go_in_and_pieces_come_out() -> None:
    layout, pieces = cut({"x": np.arange(6.0), "y": np.ones((2, 2), np.int8)}, most_bytes=16)
    assert len(pieces) > 2
    (plain, made), *parts = run_ray_task(_doubled, "task", "cpu", layout, *pieces)
    assert plain == "TASK"
    found = join(made, parts)
    assert {name: array.tolist() for name, array in found.items()} == {
        "x": [0, 2, 4, 6, 8, 10],
        "y": [[2, 2], [2, 2]],
    }


def test_a_task_without_arrays_yields_its_small_result_alone() -> None:
    assert list(run_ray_task(_doubled, "task", "cpu", [])) == [("TASK", [])]


def test_a_task_that_asks_for_a_gpu_computes_on_the_one_that_ray_shows(monkeypatch) -> None:
    monkeypatch.setattr(worker_device, "_own", None)
    ask = lambda argument, arrays: (worker_device.own_device(argument), {})  # noqa: E731
    assert next(run_ray_task(ask, "cuda", "cpu", []))[0] == "cuda"
    assert next(run_ray_task(ask, "cuda", "cuda", []))[0] == "cuda:0"
