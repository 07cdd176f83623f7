"""Kill a quantization or a whole job at random moments, again and again, until it has been killed `kills` times.

Run as a process of its own: it imports everything once and forks a child per attempt, so that an attempt costs
milliseconds, not the seconds of starting Python. The simulated figures of a job are functions of its methods and the
pictures functions of the figures, and they take most of a small job's time: they are made once in this process, and
every child writes what it finds there.

After these kills as many more as `edges` says come at a random operation on files, before it takes place: an opening
to write, a rename, a removal, a new folder, a flush. Prints how many kills of both kinds hit, and what the last run
reused.
"""

import argparse
import json
import os
import pickle
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["NUMBA_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NUMBA_THREADING_LAYER"] = "workqueue"  # with OpenMP, numba ends a forked child by a signal of its own

from haloquant.errors import InputError
from haloquant.jobs.compare import job
from haloquant.jobs.quantize.job import quantize_checkpoint
from haloquant.jobs.quantize.request import Request
from haloquant.lm import model_check  # noqa: F401 - a forked child finds it loaded
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.recipe import Hardware, Recipe, read_recipe
from haloquant.report import page
from haloquant.store.profiles import find_profile

Work = Callable[[Path, Path], int]  # source and output to steps reused


@dataclass(frozen=True)
class Killed:
    """How the attempts went: kills that hit, folders begun, and what the last run reused."""

    hit: int
    edges: int
    rounds: int
    reused: int
    length_s: float


def quantize(model: Path, out: Path) -> int:
    """A data-free quantization of a model folder."""
    recipe = Recipe(hardware=Hardware(tile=32))
    asked = Request(find_profile("default"), "bal", recipe, None, "nothing")
    try:
        return quantize_checkpoint(open_checkpoint(model), asked, out).reused
    except InputError:
        if not (out / "halo_manifest.json").is_file():
            raise
        return 0  # killed when the model was whole: it is refused, and what was left beside it is gone


def run(recipe: Path, out: Path) -> int:
    """The whole job of a recipe, report and packed model with it."""
    return len(job.run(read_recipe(recipe), out).reused)


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of values alone that remembers what it gave for equal ones; a callback is not a value."""
    kept: dict[bytes, Any] = {}

    def remembered(*given: Any) -> Any:
        key = pickle.dumps([value for value in given if not callable(value)])
        if key not in kept:
            kept[key] = function(*given)
        return kept[key]

    return remembered


def keep_pictures() -> None:
    """Have simulations run and pictures drawn once."""
    job.gather_results = once(job.gather_results)
    page.draw_figures, page.figure_png = once(page.draw_figures), once(page.figure_png)


def on_edges(act: Callable[[], None]) -> None:
    """Have `act` called before every operation on files that Python makes in this process, from now on."""
    flush = os.fsync

    def fsync(file: int) -> None:
        act()
        flush(file)

    def hook(event: str, given: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate"):
            act()

    os.fsync = fsync
    sys.addaudithook(hook)


def count_edges(work: Work, source: Path, out: Path) -> int:
    """Operations on files in one uninterrupted run."""
    count = 0

    def act() -> None:
        nonlocal count
        count += 1

    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        on_edges(act)
        work(source, out)
        os.write(send, str(count).encode())
        os._exit(0)
    os.close(send)
    os.waitpid(child, 0)
    return int(os.read(receive, 20))


def attempt(work: Work, source: Path, out: Path, delay_s: float, edge: int) -> bool:
    """Whether the child was killed before it was done: after a time, or at an operation on files (0: at none)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if edge:
                left = iter(range(edge - 1))
                on_edges(lambda: os.kill(os.getpid(), signal.SIGKILL) if next(left, None) is None else None)
            work(source, out)
            code = 0
        finally:
            os._exit(code)
    if not edge:
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a rerun on what a killed one left must not fail")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        raise RuntimeError(f"the child must be ended by this process alone, not by signal {os.WTERMSIG(status)}")
    return os.WIFSIGNALED(status)


def kill_often(work: Work, source: Path, folder: Path, kills: int, edges: int, share: float) -> Killed:
    """Kill until `kills` hit, each after up to `share` of an uninterrupted run, and `edges` too; then let it finish."""
    # Compile in this process, so that a child's time is spent on work and files.
    work(source, folder / "whole")
    begin = time.monotonic()
    work(source, folder / "timed")
    length = time.monotonic() - begin
    shutil.rmtree(folder / "timed")
    operations = count_edges(work, source, folder / "timed")
    shutil.rmtree(folder / "timed")
    out, hit, cut, rounds, whole = folder / "killed", 0, 0, 0, False
    while hit < kills or cut < edges:
        # A rerun goes on where the killed one was, so a fresh start is needed once everything is there.
        if whole:
            shutil.rmtree(out)
            rounds += 1
        edge = 0 if hit < kills else random.randint(1, max(1, round(operations * share)))
        killed = attempt(work, source, out, random.uniform(0, length * share), edge)
        if edge:
            cut += killed
        else:
            hit += killed
        whole = not killed
    return Killed(hit, cut, rounds, 0 if whole else work(source, out), length)


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("quantize", "run"))
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--edges", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random.seed(asked.seed)
    keep_pictures()
    # A job spends most of its time on steps and the last of it on the report; both are to be hit.
    work, share = (quantize, 0.25) if asked.command == "quantize" else (run, 0.6)
    print(json.dumps(vars(kill_often(work, asked.source, asked.folder, asked.kills, asked.edges, share))))


if __name__ == "__main__":
    main()
