"""Kill a quantization or a whole job at random moments, again and again, until it has been killed `kills` times.

Run as a process of its own: it imports everything once and forks a child per attempt, so that an attempt costs
milliseconds, not the seconds of starting Python. Prints how many kills hit and how many steps the last run reused.
"""

import argparse
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

from haloquant.config import Hardware, Recipe, read_recipe
from haloquant.lm.checkpoint import open_checkpoint
from haloquant.pipeline import job, stream
from haloquant.store.profiles import find_profile

Work = Callable[[Path, Path], int]  # source and output to steps reused


@dataclass(frozen=True)
class Killed:
    """How the attempts went: kills that hit, folders begun, and what the last run reused."""

    hit: int
    rounds: int
    reused: int
    length_s: float


def quantize(model: Path, out: Path) -> int:
    """A data-free quantization of a model folder."""
    recipe = Recipe(hardware=Hardware(tile=32))
    asked = stream.Asked(find_profile("default"), "bal", recipe, None, "nothing")
    return stream.quantize_checkpoint(open_checkpoint(model), asked, out).reused


def run(recipe: Path, out: Path) -> int:
    """The whole job of a recipe, report and packed model with it."""
    return len(job.run(read_recipe(recipe), out).reused)


def attempt(work: Work, source: Path, out: Path, delay_s: float) -> bool:
    """Whether the child was killed before it was done."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(source, out)
            code = 0
        finally:
            os._exit(code)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a rerun on what a killed one left must not fail")
    return os.WIFSIGNALED(status)


def kill_often(work: Work, source: Path, folder: Path, kills: int, share: float) -> Killed:
    """Kill until `kills` hit, each after up to `share` of an uninterrupted run; then let it finish."""
    # Compile in this process, so that a child's time is spent on work and files.
    work(source, folder / "whole")
    begin = time.monotonic()
    work(source, folder / "timed")
    length = time.monotonic() - begin
    shutil.rmtree(folder / "timed")
    out, hit, rounds, whole = folder / "killed", 0, 0, False
    while hit < kills:
        # A rerun goes on where the killed one was, so a fresh start is needed once everything is there.
        if whole:
            shutil.rmtree(out)
            rounds += 1
        killed = attempt(work, source, out, random.uniform(0, length * share))
        hit += killed
        # A quantization is whole once its folder is there, whenever the kill came; a job has a folder from the start.
        whole = (out.exists() and work is quantize) or not killed
    return Killed(hit, rounds, 0 if whole else work(source, out), length)


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("quantize", "run"))
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    # A job spends most of its time on steps and the last of it on the report; both are to be hit.
    work, share = (quantize, 0.25) if asked.command == "quantize" else (run, 0.6)
    print(json.dumps(vars(kill_often(work, asked.source, asked.folder, asked.kills, share))))


if __name__ == "__main__":
    main()
