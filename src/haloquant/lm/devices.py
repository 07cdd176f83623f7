"""The device on which torch computes: the CPU, or a CUDA GPU of this machine."""

import re

from haloquant.errors import InputError

_NAME = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device_name(device: object) -> None:
    """Check the form of a device's name, without torch.

    Raises:
        InputError: It is none of `auto`, `cpu`, `cuda`, `cuda:0`, `cuda:1` and so on.
    """
    if not isinstance(device, str) or not _NAME.fullmatch(device):
        raise InputError(f"device must be auto, cpu, cuda or cuda:NUMBER, not {device!r:.80}")


def find_device(device: str) -> str:
    """Return torch's name of a device: `cpu`, or `cuda:` and a number.

    `auto` is the first GPU where there is one, else the CPU. `cuda` is the first GPU.

    Args:
        device: the name.

    Raises:
        InputError: The name has another form, or this machine has no such GPU.
    """
    check_device_name(device)
    if device == "cpu":
        return device
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda:0" if count else "cpu"
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        there = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0" if count else "no GPU that torch can use"
        raise InputError(
            f"this machine has {there}, so the device must not be {device}; use auto to take an available device"
        )
    return f"cuda:{number}"


def describe_device(device: str) -> str:
    """Return a device's name for people: `cpu`, or `cuda:0, NVIDIA H100`: the number, then the GPU's name."""
    if device == "cpu":
        return device
    import torch

    return f"{device}, {torch.cuda.get_device_name(device)}"
