"""The feeding loop: how far ahead it reads, and that a task which must run again keeps its number."""

from collections.abc import Collection, Iterable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.jobs.engine.ray_cluster import Cluster
from haloquant.jobs.engine.task_feeding import SentAgain, feed
from haloquant.jobs.engine.tasks import Arrays, Work


class LastInFirstOut:
    """Workers that end the newest task first. Tasks whose argument is in `lost` must run a second time."""

    def __init__(self, lost: Iterable[int] = ()) -> None:
        self.lost, self.arguments, self.most = set(lost), dict[str, int](), 0

    def send(self, work: Work) -> str:
        handle = f"task {len(self.arguments)}"
        self.arguments[handle] = work.argument
        return handle

    def wait(self, pending: Collection[str]) -> Iterable[str]:
        self.most = max(self.most, len(pending))
        return [max(pending, key=lambda handle: int(handle.split()[1]))]

    def receive(self, handle: str) -> tuple[int, Arrays] | SentAgain[str]:
        argument = self.arguments[handle]
        if argument in self.lost:
            self.lost.discard(argument)
            return SentAgain(self.send(Work(argument)))
        return 10 * argument, {"x": np.array([argument])}


def two(_: Work) -> int:
    """The number of workers, for any task."""
    return 2


def test_every_result_comes_once_with_the_number_of_its_task() -> None:
    found = list(feed(LastInFirstOut(), two, [Work(x) for x in (5, 6, 7, 8)]))
    assert sorted((index, plain) for index, plain, _ in found) == [(0, 50), (1, 60), (2, 70), (3, 80)]
    assert all(arrays["x"][0] * 10 == plain for _, plain, arrays in found)


def test_one_more_task_than_workers_is_sent_and_no_more_is_read() -> None:
    read: list[int] = []

    def works() -> Iterator[Work]:
        for x in range(6):
            read.append(x)
            yield Work(x)

    workers = LastInFirstOut()
    results = feed(workers, two, works())
    assert next(results)[0] == 2  # the newest of the three that were sent
    assert read == [0, 1, 2]
    assert len(list(results)) == 5
    assert workers.most == 3


def test_a_task_that_is_sent_again_keeps_its_number() -> None:
    found = {
        index: plain for index, plain, _ in feed(LastInFirstOut(lost=(6, 8)), two, [Work(x) for x in (5, 6, 7, 8)])
    }
    assert found == {0: 50, 1: 60, 2: 70, 3: 80}


def test_without_tasks_nothing_is_waited_for() -> None:
    assert list(feed(LastInFirstOut(), two, [])) == []


def test_tasks_for_few_places_are_read_no_further_ahead_than_these() -> None:
    workers = LastInFirstOut()
    works = [Work(x, device="cuda") for x in range(6)]
    found = feed(workers, lambda work: 8 if work.device == "cpu" else 2, works)
    assert len(list(found)) == 6 and workers.most == 3


def test_a_cluster_is_fed_by_its_gpus_where_tasks_ask_for_one() -> None:
    def cluster(**resources: float) -> Cluster:
        return Cluster(SimpleNamespace(cluster_resources=lambda: resources, remote=lambda **_: lambda task: task))

    on_gpu = Work("layer", device="cuda")
    assert [cluster(CPU=8.0, GPU=gpus).places(on_gpu) for gpus in (1.0, 3.0, 12.0)] == [1, 3, 8]
    assert cluster(CPU=8.0, GPU=1.0).places(Work("layer")) == 8
    assert cluster(CPU=8.0).places(on_gpu) == 1  # the task is refused when it is sent
    with pytest.raises(InputError, match="the Ray cluster must have a GPU for device cuda, and none of its nodes"):
        cluster(CPU=8.0).task("cuda")
