"""The devices on which torch computes: the CPU, or CUDA GPUs of this machine."""

import re
from collections.abc import Sequence
from pathlib import Path

from haloquant.errors import InputError

_NAME = re.compile(r"auto|cpu|cuda(:\d+)?")
_NAMES = re.compile(r"cuda:all|cuda:\d+(,cuda:\d+)+")
_DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # Linux's files of NVIDIA's driver, and of Windows' below Linux


def check_device_name(device: object) -> None:
    """Check the form of a device's name, without torch.

    Raises:
        InputError: It is none of `auto`, `cpu`, `cuda`, `cuda:0`, `cuda:1` and so on.
    """
    if not isinstance(device, str) or not _NAME.fullmatch(device):
        raise InputError(f"device must be auto, cpu, cuda or cuda:NUMBER, not {device!r:.80}")


def check_device_names(device: object) -> None:
    """Check the form of a device's name, or of the names of several GPUs, without torch.

    Raises:
        InputError: It is none of those of `check_device_name`, `cuda:all`, and a list such as `cuda:0,cuda:1`.
    """
    if not isinstance(device, str) or not (_NAME.fullmatch(device) or _NAMES.fullmatch(device)):
        raise InputError(
            "device must be auto, cpu, cuda or cuda:NUMBER, cuda:all, or GPUs with commas (cuda:0,cuda:1), not "
            f"{device!r:.80}"
        )


def find_devices(device: str) -> tuple[str, ...]:
    """Return torch's names of one or several devices, as `find_device` returns one.

    Args:
        device: a name for `find_device`; `cuda:all` for every GPU; or names of different GPUs with commas.

    Raises:
        InputError: The text has another form, this machine has no such GPU, or a GPU is named twice.
    """
    check_device_names(device)
    if _NAME.fullmatch(device):
        return (find_device(device),)
    if device == "cuda:all":
        find_device("cuda")
        return tuple(f"cuda:{number}" for number in range(gpu_count()))
    return tuple(find_device(name) for name in named_devices(device))


def named_devices(device: str) -> tuple[str, ...]:
    """Return the devices that a text names, one for `cuda:all`, without asking whether they are there.

    Raises:
        InputError: The text has another form, or a GPU is named twice.
    """
    check_device_names(device)
    if not _NAMES.fullmatch(device) or device == "cuda:all":
        return (device,)
    found = tuple(f"cuda:{int(name.partition(':')[2])}" for name in device.split(","))
    if len(set(found)) < len(found):
        raise InputError(f"device must name each GPU once, not {device}")
    return found


def gpu_count() -> int:
    """Return the number of GPUs of this machine that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def may_have_gpu() -> bool:
    """Return whether this machine may have a GPU, without torch, whose import takes a second.

    Linux has a file for NVIDIA's driver. On other systems only torch can say.
    """
    return any(path.exists() for path in _DRIVERS) or not Path("/dev").is_dir()


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
    count = gpu_count()
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


def card_of(device: str) -> str:
    """Return which kind of card a device is, such as `NVIDIA H100 80GB HBM3`; empty for the CPU and a cluster's GPUs.

    Args:
        device: torch's name, as `find_device` returns it, or "cuda" for the GPUs of a cluster.
    """
    if not device.startswith("cuda:"):
        return ""
    import torch

    return torch.cuda.get_device_name(device)


def check_alike(devices: Sequence[str]) -> None:
    """Check that the GPUs that share one work are cards of one kind.

    A layer goes to the GPU that is free, and the sums of two kinds of cards differ in their last digits. So the same
    command would write other bytes each time.

    Args:
        devices: torch's names.

    Raises:
        InputError: They are not.
    """
    cards: dict[str, list[str]] = {}
    for device in devices:
        cards.setdefault(card_of(device), []).append(device)
    if len(cards) > 1:
        listed = ", ".join(f"{' and '.join(names)} ({card})" for card, names in cards.items())
        most = max(cards.values(), key=len)
        raise InputError(
            "device must name GPUs of one kind, as other cards round some codes otherwise and the same command would "
            f"write other bytes each time, not {listed}; use {','.join(most)}"
        )
