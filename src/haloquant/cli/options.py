"""Options that several commands share, described once."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; empty, or one that haloquant made.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, for machines.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="MAC: a shipped profile's name (see `haloquant profiles`) or a file.")
]
Targets = Annotated[
    list[str], typer.Option("--target", "-t", help="Machine: a shipped target's name or a TOML file; may be repeated.")
]
