"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; empty, or one that haloquant made.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="MAC: a shipped profile's name (see `haloquant profiles`) or a file.")
]
