"""The command line: it parses options, calls `haloquant.api` and prints the result.

`app` holds the commands and turns every error into an exit code; `models`, `jobs`, `circuits`, `profiles`, `machines`
and `studies` hold one group of commands each.
"""

from haloquant.cli.app import main

__all__ = ["main"]
