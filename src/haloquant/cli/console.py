"""The two streams that commands print to."""

import sys

from rich.console import Console

# Progress and errors go to stderr, so that stdout holds nothing but results, also with `--json`.
stderr = Console(stderr=True)
# A pipe has no width of its own. The default of 80 columns would fold tables.
stdout = Console(width=None if sys.stdout.isatty() else 150)
