"""The devices of a job: one or several GPUs of this machine, or those of a cluster."""

import pytest

from haloquant.errors import InputError
from haloquant.jobs import devices
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine

LOCAL, RAY = Engine("local", 4), Engine("ray", 4)
TWO = ("cuda:0", "cuda:1")


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"auto": "cuda:0", "cuda": "cuda:0"}
    monkeypatch.setattr(devices, "find_device", lambda name: found.get(name, name))
    several = {"cuda:all": TWO, "cuda:0,cuda:1": TWO}
    monkeypatch.setattr(devices, "find_devices", lambda name: several.get(name, (found.get(name, name),)))
    monkeypatch.setattr(devices, "may_have_gpu", lambda: True)
    monkeypatch.setattr(devices, "check_alike", lambda names: None)


def test_local_workers_take_the_gpus_and_jobs_on_a_cluster_do_not() -> None:
    assert devices.job_devices("auto", LOCAL) == ("cuda:0",)
    assert devices.job_devices("cuda:all", LOCAL) == devices.job_devices("cuda:0,cuda:1", LOCAL) == TWO
    assert devices.job_devices("auto", RAY) == devices.job_devices("cpu", RAY) == ("cpu",)
    with pytest.raises(InputError, match="device must be auto or cpu with engine ray, whose tasks compute on CPUs"):
        devices.job_devices("cuda", RAY)


def test_a_quantization_rounds_on_the_gpus_of_a_cluster_and_calibrates_on_its_own() -> None:
    assert devices.quantization_devices("auto", LOCAL, "text.txt") == (("cuda:0",), "cuda:0")
    assert devices.quantization_devices("cuda:all", LOCAL, "none") == (TWO, "cuda:0")
    assert devices.quantization_devices("cuda", RAY, "text.txt") == (("cuda",), "cuda:0")
    assert devices.quantization_devices("auto", RAY, "text.txt") == (("cpu",), "cpu")
    with pytest.raises(InputError, match="device must be auto, cpu or cuda with engine ray, which chooses among"):
        devices.quantization_devices("cuda:1", RAY, "none")


def test_without_a_calibration_torch_is_asked_only_where_there_may_be_a_gpu(monkeypatch) -> None:
    assert devices.quantization_devices("auto", LOCAL, "none") == (("cuda:0",), "cuda:0")
    monkeypatch.setattr(devices, "may_have_gpu", lambda: False)
    assert devices.quantization_devices("auto", LOCAL, "none") == (("cpu",), "cpu")
    assert devices.quantization_devices("cuda", LOCAL, "none") == (("cuda:0",), "cuda:0")


def test_each_gpu_has_a_worker() -> None:
    assert devices.with_devices(THIS_PROCESS, ("cuda:0",)) == THIS_PROCESS
    assert devices.with_devices(THIS_PROCESS, TWO) == Engine("local", 2, devices=TWO)
    assert devices.with_devices(LOCAL, TWO) == Engine("local", 4, devices=TWO)
    assert devices.with_devices(LOCAL, ("cpu",)) == LOCAL and devices.with_devices(RAY, ("cuda",)) == RAY


def test_another_form_is_refused_on_any_engine() -> None:
    for engine in (LOCAL, RAY):
        with pytest.raises(InputError, match="device must be auto, cpu, cuda or cuda:NUMBER"):
            devices.job_devices("tpu", engine)


def test_several_gpus_must_be_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(names: tuple[str, ...]) -> None:
        raise InputError(f"not {names}")

    monkeypatch.setattr(devices, "check_alike", refuse)
    for ask in (devices.job_devices, lambda name, engine: devices.quantization_devices(name, engine, "none")):
        with pytest.raises(InputError, match=r"^not \('cuda:0', 'cuda:1'\)$"):
            ask("cuda:all", LOCAL)
        assert ask("cuda", LOCAL)
