"""Tasks, layers and a whole job on a Ray cluster: a lost worker is replaced, and the bytes are those of one process.

The cluster is started once, by the engine itself: starting it and its workers takes longer than the work. Ray believes
the number of GPUs that it is told, so no GPU is needed.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from haloquant.jobs.engine.ray_cluster import Cluster
from haloquant.jobs.engine.session import open_session, run_tasks
from haloquant.jobs.engine.tasks import Engine, Work
from support.engine_jobs import quantize_and_kill, run_and_kill
from support.engine_tasks import die_once, visible_devices
from support.workers import ray_workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),  # workers import torch each, and a machine may be busy with other things
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
]
RAY = Engine("ray", 2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two workers and two GPUs; a session that finds a cluster uses it and leaves it open."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 2}')
        # The workers import a task by its module's name.
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]), prepend=os.pathsep)
        with open_session(RAY):
            yield


@pytest.mark.usefixtures("cluster")
def test_layers_have_the_bytes_of_one_process_though_a_worker_is_killed(
    layers_alone: Path, tiny_folder: Path, small_text: Path, tmp_path: Path
) -> None:
    quantize_and_kill(RAY, ray_workers, layers_alone, tiny_folder, small_text, tmp_path)


@pytest.mark.seldom
@pytest.mark.usefixtures("cluster")
def test_a_job_makes_the_same_files_though_a_worker_is_killed(
    job_alone: dict[str, bytes], small_recipe: Path, tmp_path: Path
) -> None:
    run_and_kill(RAY, ray_workers, job_alone, small_recipe, tmp_path)


@pytest.mark.usefixtures("cluster")
def test_a_worker_that_kills_itself_is_replaced(tmp_path: Path) -> None:
    tasks = [(str(tmp_path), x) for x in range(5)]
    assert run_tasks(die_once, tasks, RAY) == [0, 1, 4, 9, 16]
    assert (tmp_path / "died").exists()


@pytest.mark.seldom
@pytest.mark.usefixtures("cluster")
def test_a_task_gets_the_gpu_that_it_asks_for() -> None:
    with open_session(RAY) as session:
        assert isinstance(session, Cluster)
        found = [plain for _, plain, _ in session.run(visible_devices, [Work("cuda", {}, "cuda") for _ in range(3)])]
        assert {device for _, device in found} == {"cuda:0"}
        assert {shown for shown, _ in found} <= {"0", "1"}
        ((_, (_, own), _),) = session.run(visible_devices, [Work("cpu")])
        assert own == "cpu"
