"""The device on which a job calibrates and evaluates, from what was asked for and where its tasks run."""

from haloquant.errors import InputError
from haloquant.jobs.engine.tasks import Engine
from haloquant.lm.devices import check_device_name, find_device


def job_device(device: str, engine: Engine) -> str:
    """Return torch's name of the device of a job.

    Tasks on a cluster compute on CPUs, since its machines need not have the same GPUs.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:NUMBER`.
        engine: Where the tasks run.

    Raises:
        InputError: There is no such device, or it is a GPU and the tasks run on a cluster.
    """
    check_device_name(device)
    if engine.kind != "ray":
        return find_device(device)
    if device in ("auto", "cpu"):
        return "cpu"
    raise InputError(f"device must be auto or cpu with engine ray, whose tasks compute on CPUs, not {device}")


def calibration_device(device: str, engine: Engine, calibration: str) -> str:
    """Return the device of a quantization; without a calibration it is the CPU, and torch is not imported.

    Raises:
        InputError: As `job_device`; or a GPU is asked for and there is no calibration.
    """
    check_device_name(device)
    if calibration != "none":
        return job_device(device, engine)
    if device.startswith("cuda"):
        raise InputError(f"device {device} must have a calibration, which alone computes there; name a text for it")
    return "cpu"
