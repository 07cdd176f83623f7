"""The device of a worker: each has its own, and workers of one device take turns."""

import os
from pathlib import Path

import pytest

from haloquant.jobs.engine import worker_device
from haloquant.jobs.engine.session import open_session, run_tasks
from haloquant.jobs.engine.tasks import Engine, Work
from support.engine_tasks import device_here, die_once, take_turn, turn_task


def test_without_a_device_of_its_own_a_process_computes_where_the_task_says(monkeypatch) -> None:
    monkeypatch.setattr(worker_device, "_own", None)
    assert worker_device.own_device("cuda:3") == "cuda:3" and worker_device.own_device("cpu") == "cpu"
    worker_device.bind_device("cuda:1")
    assert worker_device.own_device("cuda:3") == "cuda:1" and worker_device.own_device("cpu") == "cpu"


@pytest.mark.slow
def test_each_worker_of_the_pool_has_a_gpu_of_its_own(tmp_path: Path) -> None:
    engine = Engine(workers=2, devices=("cuda:0", "cuda:1"))
    found = run_tasks(device_here, [(str(tmp_path), 2)] * 4, engine)
    places = {process: device for process, device, _ in found}
    assert len(places) == 2 and os.getpid() not in places and set(places.values()) == {"cuda:0", "cuda:1"}
    assert {cpu for _, _, cpu in found} == {"cpu"}


@pytest.mark.slow
def test_a_lost_worker_is_replaced_by_one_with_a_device(tmp_path: Path) -> None:
    engine = Engine(workers=2, devices=("cpu", "cpu"))
    assert run_tasks(die_once, [(str(tmp_path), x) for x in range(5)], engine) == [0, 1, 4, 9, 16]


@pytest.mark.slow
def test_workers_that_share_a_device_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run_tasks(take_turn, [str(log)] * 6, Engine(workers=3, devices=("cuda:0",)))
    lines = log.read_text().split("\n")[:-1]
    assert len(lines) == 12
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert begin.split()[0] == "begin" and end == begin.replace("begin", "end")


@pytest.mark.slow
def test_this_process_takes_turns_with_the_worker_of_the_first_device(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with open_session(Engine(workers=2, devices=("cpu", "cpu")), tmp_path) as session:
        tasks = session.run(turn_task, (Work(str(log)) for _ in range(4)))
        with worker_device.device_turn():
            next(tasks)  # of the second worker: the first waits
            held = log.read_text().split("\n")[:-1]
        assert len({line.split()[1] for line in held}) == 1
        assert len(list(tasks)) == 3
    assert worker_device._turns is None
