"""The command line: it parses options, calls `haloquant.api` and prints the result.

`app` holds the commands and turns errors into exit codes. `jobs` and `paper` hold a group of commands each, and so do
the modules of `models`, `machines` and `macs`. `options` are shared options; `console` and `tile_explanation` present
results.
"""

from haloquant.cli.app import main

__all__ = ["main"]
