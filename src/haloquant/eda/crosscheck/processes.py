"""Runs the programs of the cross-checks, each with a time limit."""

import os
import signal
import subprocess
from pathlib import Path

from haloquant.errors import ToolError


def run_program(command: list[str], folder: Path, limit_s: float, name: str) -> str:
    """Run a program in its own session, so that its child processes end with it, and return its output.

    Args:
        command: the program and its arguments.
        folder: working directory.
        limit_s: time limit (s).
        name: name of the program in error messages.

    Raises:
        ToolError: If the program exceeds the limit or fails; the message has the first lines of its output.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise ToolError(
            f"{name} must finish within {limit_s:g} s, and did not; give it less to do or more time"
        ) from error
    if process.returncode:
        said = " | ".join((errors or printed).strip().splitlines()[:3])
        raise ToolError(f"{name} failed with exit code {process.returncode}: {said}")
    return printed
