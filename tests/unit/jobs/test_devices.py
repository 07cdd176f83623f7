"""The device of a job: clusters compute on CPUs, and a GPU without work is refused."""

import pytest

from haloquant.errors import InputError
from haloquant.jobs import devices
from haloquant.jobs.engine.tasks import Engine

LOCAL, RAY = Engine("local", 4), Engine("ray", 4)


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_device", lambda name: {"auto": "cuda:0", "cuda": "cuda:0"}.get(name, name))


def test_local_workers_take_the_gpu_and_a_cluster_does_not() -> None:
    assert devices.job_device("auto", LOCAL) == "cuda:0"
    assert devices.job_device("auto", RAY) == devices.job_device("cpu", RAY) == "cpu"
    with pytest.raises(InputError, match="device must be auto or cpu with engine ray, whose tasks compute on CPUs"):
        devices.job_device("cuda", RAY)


def test_without_a_calibration_there_is_nothing_for_a_gpu() -> None:
    assert devices.calibration_device("auto", LOCAL, "text.txt") == "cuda:0"
    assert devices.calibration_device("auto", LOCAL, "none") == "cpu"
    with pytest.raises(InputError, match="device cuda must have a calibration"):
        devices.calibration_device("cuda", LOCAL, "none")


def test_another_form_is_refused_on_any_engine() -> None:
    for engine in (LOCAL, RAY):
        with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:NUMBER"):
            devices.job_device("tpu", engine)
