"""Tasks that worker processes import by name: they work, fail, or kill their worker."""

import os
import signal
from pathlib import Path

from haloquant.errors import InputError


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
