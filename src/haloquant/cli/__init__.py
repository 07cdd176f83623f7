"""The command line: it parses options, calls `haloquant.api` and prints the result.

`app` holds the commands and turns errors into exit codes. `models`, `recovery`, `jobs`, `circuits`, `profiles`,
`machines`, `studies` and `paper` hold one group of commands each. `options` and `machine_options` are shared options;
`console`, `forecast_tables`, `new_silicon` and `tile_explanation` present results.
"""

from haloquant.cli.app import main

__all__ = ["main"]
