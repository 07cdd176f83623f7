"""Tasks on a Ray cluster. Arrays are passed through the cluster's object store in pieces (`array_pieces`).

If a worker or a node is lost, Ray runs its tasks again elsewhere. The driver process owns the arguments of tasks, so
the loss of a worker loses no argument. The function that runs in a worker is in `ray_worker`.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from haloquant.errors import InputError, MissingExtraError, ToolError
from haloquant.jobs.engine.array_pieces import cut, join
from haloquant.jobs.engine.ray_worker import run_ray_task
from haloquant.jobs.engine.task_feeding import feed
from haloquant.jobs.engine.tasks import RETRIES, Arrays, Function, Work


class Cluster:
    """A session on the cluster that the module `ray` is connected to."""

    def __init__(self, ray: Any) -> None:
        self.ray = ray
        self.workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        self._gpus = int(ray.cluster_resources().get("GPU", 0))
        settings = {"num_returns": "streaming", "max_retries": RETRIES, "num_cpus": 1}
        self._on_cpu = ray.remote(**settings)(run_ray_task)
        self._on_gpu = ray.remote(**settings, num_gpus=1)(run_ray_task)

    def places(self, work: Work) -> int:
        """Return how many tasks such as this one the cluster runs at a time, as it has CPUs, or GPUs for one."""
        return self.workers if work.device == "cpu" else max(1, min(self.workers, self._gpus))

    def task(self, device: str) -> Any:
        """Return the remote function for tasks on a device; those on a GPU wait for a worker that has one.

        Raises:
            InputError: No node of the cluster has a GPU.
        """
        if device == "cpu":
            return self._on_cpu
        if not self._gpus:
            raise InputError(
                f"the Ray cluster must have a GPU for device {device}, and none of its nodes offers one; use --device "
                "cpu, or start a node with GPUs (ray start --num-gpus)"
            )
        return self._on_gpu

    def run(self, function: Function, works: Iterable[Work]) -> Iterator[tuple[int, Any, Arrays]]:
        """See `tasks.Session`."""
        return feed(_Sender(self, function), self.places, works)


@dataclass(frozen=True)
class _Sender:
    """The calls of the feeding loop during one `run` on a cluster. A handle is Ray's stream of a task's results."""

    cluster: Cluster
    function: Function

    def send(self, work: Work) -> Any:
        layout, pieces = cut(work.arrays)
        references = [self.cluster.ray.put(piece) for piece in pieces]
        return self.cluster.task(work.device).remote(self.function, work.argument, work.device, layout, *references)

    def wait(self, pending: Collection[Any]) -> Iterable[Any]:
        ready, _ = self.cluster.ray.wait(list(pending), num_returns=1)
        return ready

    def receive(self, handle: Any) -> tuple[Any, Arrays]:
        from ray.exceptions import RayError, RayTaskError

        ray = self.cluster.ray
        try:
            plain, layout = ray.get(next(handle))
            return plain, join(layout, (ray.get(reference) for reference in handle))
        except RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise ToolError(f"a task on the Ray cluster failed: {error}") from None
        except RayError as error:
            raise ToolError(f"a Ray worker died {RETRIES + 1} times on the same task: {error}") from error


@contextmanager
def open_cluster(workers: int, address: str | None) -> Iterator[Cluster]:
    """Connect to the cluster at `address`, or without one start a cluster of `workers` CPUs on this machine.

    A connection that was made here is closed at the end of the `with` block.

    Raises:
        MissingExtraError: Ray is not installed.
        ToolError: The cluster does not answer.
    """
    try:
        import ray

        started = not ray.is_initialized()
    except (ImportError, AttributeError) as error:  # a folder that is called ray, such as Ray's own in /tmp, has none
        raise MissingExtraError("the Ray engine needs Ray: pip install 'haloquant[ray]'") from error
    if started:
        settings: dict[str, Any] = {"address": address} if address else {"num_cpus": workers}
        try:
            ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False, **settings)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ToolError(f"the Ray cluster at {address or 'this machine'} must answer: {error}") from error
    try:
        yield Cluster(ray)
    finally:
        if started:
            ray.shutdown()
