"""Tasks that worker processes import by name: they work, fail, or kill their worker."""

import os
import signal
import time
from pathlib import Path

from haloquant.errors import InputError
from haloquant.jobs.engine.tasks import Arrays
from haloquant.jobs.engine.worker_device import device_turn, own_device


def square(x: int) -> int:
    return x * x


def die_once(task: tuple[str, int]) -> int:
    """Kill this worker the first time one of the tasks is seen."""
    folder, x = task
    flag = Path(folder) / "died"
    if x == 3 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def refuse(x: int) -> int:
    raise InputError(f"{x} must be something else")


def always_die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def device_here(task: tuple[str, int]) -> tuple[int, str, str]:
    """Return this process, and the device on which it computes what asks for a GPU, and for the CPU.

    The first tasks wait for each other, so that each has a worker.
    """
    folder, together = Path(task[0]), task[1]
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < together:
        time.sleep(0.01)
    return os.getpid(), own_device("cuda:0"), own_device("cpu")


def take_turn(log: str) -> int:
    """Write into a file when this worker has its device, and when it has left it."""
    with device_turn():
        for word in ("begin", "end"):
            with Path(log).open("a") as file:
                file.write(f"{word} {os.getpid()}\n")
            time.sleep(0.05)
    return os.getpid()


def turn_task(log: str, _: Arrays) -> tuple[int, Arrays]:
    """`take_turn` as a task of a session."""
    return take_turn(log), {}


def visible_devices(argument: str, arrays: Arrays) -> tuple[tuple[str, str], Arrays]:
    """Return which GPUs Ray shows this worker, and the device on which it computes."""
    return (os.environ.get("CUDA_VISIBLE_DEVICES", ""), own_device(argument)), {}
