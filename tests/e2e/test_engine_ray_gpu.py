"""Tasks of a Ray cluster that ask for a GPU: each gets one. `test_engine_ray.py` asks a cluster without any.

Ray believes the number of GPUs that it is told, so no GPU is needed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from haloquant.jobs.engine.ray_cluster import Cluster
from haloquant.jobs.engine.session import open_session
from haloquant.jobs.engine.tasks import Engine, Work
from support.engine_tasks import visible_devices

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of two CPUs and two GPUs."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]), prepend=os.pathsep)
        ray.init(num_cpus=2, num_gpus=2, log_to_driver=False, include_dashboard=False)
        try:
            with open_session(Engine("ray", 2)) as session:
                assert isinstance(session, Cluster)
                yield session
        finally:
            ray.shutdown()


def test_a_task_gets_the_gpu_that_it_asks_for(cluster: Cluster) -> None:
    found = [plain for _, plain, _ in cluster.run(visible_devices, [Work("cuda", {}, "cuda") for _ in range(3)])]
    assert {device for _, device in found} == {"cuda:0"}
    assert {shown for shown, _ in found} <= {"0", "1"}
    ((_, (_, own), _),) = cluster.run(visible_devices, [Work("cpu")])
    assert own == "cpu"
