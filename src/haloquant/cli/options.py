"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; empty, or one that haloquant made.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DEVICE_HELP = "Where torch computes: auto (a GPU where there is one), cpu, cuda or cuda:NUMBER."
DEVICES_HELP = f"{DEVICE_HELP[:-1]}; several GPUs as cuda:all or cuda:0,cuda:1."
Device = Annotated[str, typer.Option(help=DEVICE_HELP)]
RecipeDevice = Annotated[str | None, typer.Option("--device", help=f"Instead of the recipe's. {DEVICES_HELP}")]
Devices = Annotated[str, typer.Option("--device", help=DEVICES_HELP)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="MAC: a shipped profile's name (see `haloquant profiles`) or a file.")
]
