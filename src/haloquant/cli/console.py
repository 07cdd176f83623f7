"""The two streams that commands print to."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

# Progress and errors go to stderr, so that stdout holds nothing but results, also with `--json`.
stderr = Console(stderr=True)
# A pipe has no width of its own. The default of 80 columns would fold tables.
stdout = Console(width=None if sys.stdout.isatty() else 150)


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences for the user, one in a line."""
    for note in notes:
        stdout.print("[yellow]note:[/yellow]", Text(note), highlight=False)
