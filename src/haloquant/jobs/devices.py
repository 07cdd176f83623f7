"""The devices on which a job calibrates, rounds and evaluates, from what was asked for and where its tasks run."""

from dataclasses import replace
from importlib.util import find_spec

from haloquant.errors import InputError
from haloquant.jobs.engine.tasks import Engine
from haloquant.lm.devices import check_alike, check_device_names, find_device, find_devices, may_have_gpu


def job_devices(device: str, engine: Engine) -> tuple[str, ...]:
    """Return torch's names of the devices of a whole job; the first is that of this process.

    Tasks of whole jobs on a cluster compute on CPUs, since its machines need not have the same GPUs.

    Args:
        device: `auto`, `cpu`, `cuda`, `cuda:NUMBER`, `cuda:all`, or GPUs with commas.
        engine: Where the tasks run.

    Raises:
        InputError: There is no such device, the GPUs are of different kinds, or it is a GPU and the tasks run on a
            cluster.
    """
    check_device_names(device)
    if engine.kind != "ray":
        return _alike(device)
    if device in ("auto", "cpu"):
        return ("cpu",)
    raise InputError(f"device must be auto or cpu with engine ray, whose tasks compute on CPUs, not {device}")


def quantization_devices(device: str, engine: Engine, calibration: str) -> tuple[tuple[str, ...], str]:
    """Return where a quantization rounds, and where it calibrates.

    A cluster rounds on its GPUs if `cuda` is asked for. This process then calibrates on its own GPU, or without one on
    the CPUs of the cluster. Without a calibration, torch is imported only where there may be a GPU.

    Args:
        device: As in `job_devices`.
        engine: Where the tasks run.
        calibration: The calibration text, or "none".

    Raises:
        InputError: There is no such device, the GPUs are of different kinds, or a cluster is asked for one of its GPUs
            by a number.
    """
    check_device_names(device)
    if engine.kind == "ray":
        if device in ("auto", "cpu"):
            return ("cpu",), "cpu"
        if device != "cuda":
            raise InputError(
                f"device must be auto, cpu or cuda with engine ray, which chooses among its GPUs itself, not {device}"
            )
        return ("cuda",), find_device("auto")
    if device == "auto" and calibration == "none" and not (may_have_gpu() and find_spec("torch")):
        return ("cpu",), "cpu"
    found = _alike(device)
    return found, found[0]


def _alike(device: str) -> tuple[str, ...]:
    """Return torch's names of the devices that a text names, of which several must be cards of one kind."""
    found = find_devices(device)
    if len(found) > 1:
        check_alike(found)
    return found


def with_devices(engine: Engine, devices: tuple[str, ...]) -> Engine:
    """Return the engine with a worker for each GPU. One process alone needs none: its tasks name their device.

    Args:
        engine: Where the tasks run.
        devices: Torch's names of the devices.
    """
    workers = max(engine.workers, len(devices))
    if engine.kind == "ray" or workers == 1 or devices == ("cpu",):
        return engine
    return replace(engine, workers=workers, devices=devices)
