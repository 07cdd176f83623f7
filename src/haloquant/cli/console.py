"""The two streams that commands print to. What is printed may hold names of a user's files, so it is never markup."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

# Progress and errors go to stderr, so that stdout holds nothing but results, also with `--json`.
stderr = Console(stderr=True, markup=False, emoji=False)
# A pipe has no width of its own. The default of 80 columns would fold tables.
stdout = Console(width=None if sys.stdout.isatty() else 150, markup=False, emoji=False)


def bold(name: object, *rest: object) -> Text:
    """Return a text that begins with a name in bold type."""
    return Text.assemble((str(name), "bold"), *map(str, rest))


def print_notes(notes: Iterable[str]) -> None:
    """Print sentences for the user, one in a line."""
    for note in notes:
        stdout.print(Text("note:", "yellow"), Text(note), highlight=False)
