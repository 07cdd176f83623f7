"""How much memory this process may still take: what the machine has, and what a container allows."""

import os
from pathlib import Path

_LIMIT_BYTES = 1 << 16  # of a file of the kernel


def available_b(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the bytes of memory that a process may take without others being put out of memory.

    It is Linux's `MemAvailable`, which counts what the cache of files would give back, and at most what a control group
    (version 2) of this process leaves below its limit. Without these files it is the free memory.

    Args:
        proc: Folder of the kernel's files on processes.
        groups: Folder of the control groups.
    """
    found = [float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    for line in _lines(proc / "meminfo"):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            found = [1024.0 * float(value.split()[0])]
    for line in _lines(proc / "self" / "cgroup"):
        if line.startswith("0::/"):
            own = groups / line.removeprefix("0::/").strip()
            for folder in (own, *own.parents):
                limit, used = (_lines(folder / f"memory.{name}") for name in ("max", "current"))
                if limit and used and limit[0].isdigit() and used[0].isdigit():
                    found.append(max(0.0, float(limit[0]) - float(used[0])))
                if folder == groups:
                    break
    return min(found)


def _lines(file: Path) -> list[str]:
    try:
        with file.open() as opened:
            return opened.read(_LIMIT_BYTES).splitlines()
    except OSError:
        return []
