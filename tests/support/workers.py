"""Processes that work for this one, to be killed by a test."""

import multiprocessing
import os
from pathlib import Path


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def ray_workers() -> list[int]:
    """Processes that are at a task of the cluster which this process started."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            working = entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"ray::run_ray_task")
            if working and os.getpid() in ancestors(int(entry.name)):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile
            continue
    return found


def ancestors(process: int) -> list[int]:
    line: list[int] = []
    while process > 1:
        status = Path(f"/proc/{process}/stat").read_text()
        process = int(status.rpartition(")")[2].split()[1])
        line.append(process)
    return line
