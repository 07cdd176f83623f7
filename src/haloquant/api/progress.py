"""Show progress: bars with the time left on a terminal, plain lines on standard error elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar, cast

from haloquant.errors import InputError

Report = Callable[[str, int, int], None]  # called with (task, steps done, steps in total)
Progress = bool | Report

PLAIN_INTERVAL_S = 5.0
Item = TypeVar("Item")


def reporting(progress: object) -> AbstractContextManager[Report]:
    """Return a context that gives a function to report progress to.

    Args:
        progress: True shows bars or lines on standard error, False shows nothing, and a callable is called with
            (task, steps done, steps in total).

    Raises:
        InputError: `progress` is none of these.
    """
    if progress is False:
        return nullcontext(_ignore)
    if callable(progress):
        return nullcontext(cast(Report, progress))
    if progress is not True:
        raise InputError(f"progress must be True, False or a callable of (task, done, total), not {progress!r:.80}")
    return _shown()


def tracked(items: Sequence[Item], report: Report, task: str) -> Iterator[Item]:
    """Yield the items one after another, and report how many are done."""
    for done, item in enumerate(items):
        report(task, done, len(items))
        yield item
    report(task, len(items), len(items))


def _ignore(task: str, done: int, total: int) -> None:
    """Show nothing."""


@contextmanager
def _shown() -> Iterator[Report]:
    """Bars on a terminal, lines elsewhere. A task appears at its first report and is finished when done == total."""
    from rich.console import Console  # rich takes longer to import than all of `import haloquant`

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),  # it holds names of a user's files
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        ids = {}

        def report(task: str, done: int, total: int) -> None:
            if task not in ids:
                ids[task] = bars.add_task(task, total=total)
            bars.update(ids[task], completed=done, total=total)

        yield report


def _plain_lines() -> Report:
    """Print at most one line per task every `PLAIN_INTERVAL_S` seconds, and one when the task is finished."""
    begun_s: dict[str, float] = {}
    printed_s: dict[str, float] = {}  # infinity: the last line of this task is printed

    def report(task: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun_s.setdefault(task, now)
        if done >= total:
            if printed_s.get(task) != float("inf"):
                took = f" in {now - begun_s[task]:.1f} s" if now > begun_s[task] else ""
                _line(f"{task}: done{took}")
            printed_s[task] = float("inf")
        elif now - printed_s.get(task, begun_s[task]) >= PLAIN_INTERVAL_S:
            printed_s[task] = now
            left_s = (now - begun_s[task]) / max(done, 1) * (total - done)
            eta = f", about {left_s:.0f} s left" if done else ""
            _line(f"{task}: {done} of {total}{eta}")

    return report


def _line(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
