"""How progress and errors reach a person: a bar with an ETA on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Report = Callable[[str, int, int], None]

# Progress and errors go to stderr, so that stdout stays clean for results and `--json`.
stderr = Console(stderr=True)
# A pipe has no width of its own; tables would be folded into 80 columns there.
stdout = Console(width=None if sys.stdout.isatty() else 150)

PLAIN_INTERVAL_S = 5.0


@contextmanager
def progress(quiet: bool) -> Iterator[Report]:
    """Yield `report(task, done, total)`; a task is drawn when it is first reported and closed when done == total."""
    if quiet:
        yield lambda task, done, total: None
    elif stderr.is_terminal:
        with _bars() as report:
            yield report
    else:
        yield _plain()


@contextmanager
def _bars() -> Iterator[Report]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr) as bars:
        ids = {}

        def report(task: str, done: int, total: int) -> None:
            if task not in ids:
                ids[task] = bars.add_task(task, total=total)
            bars.update(ids[task], completed=done, total=total)

        yield report


def _plain() -> Report:
    begun: dict[str, float] = {}
    said: dict[str, float] = {}

    def report(task: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun.setdefault(task, now)
        if done >= total:
            if said.get(task) != float("inf"):
                took = f" in {now - begun[task]:.1f} s" if now > begun[task] else ""
                print(f"{task}: done{took}", file=sys.stderr, flush=True)
            said[task] = float("inf")
        elif now - said.get(task, begun[task]) >= PLAIN_INTERVAL_S:
            said[task] = now
            left = (now - begun[task]) / max(done, 1) * (total - done)
            eta = f", about {left:.0f} s left" if done else ""
            print(f"{task}: {done} of {total}{eta}", file=sys.stderr, flush=True)

    return report
