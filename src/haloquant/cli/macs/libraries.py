"""`merge-liberty`: put the files of one cell library together."""

from pathlib import Path
from typing import Annotated

import typer

from haloquant.cli.console import stdout


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command(
        "merge-liberty",
        epilog="Example: `haloquant merge-liberty SIMPLE.lib.gz INVBUF.lib.gz SEQ.lib.gz --out asap7_tt.lib.gz`, then "
        "`haloquant characterize --liberty asap7_tt.lib.gz`",
    )(merge_liberty)


def merge_liberty(
    files: Annotated[list[Path], typer.Argument(help="Files (.lib, .lib.gz) of one library at one corner.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New file to write; gzip if it ends in .gz.")],
) -> None:
    """Write one Liberty file with the cells of several, which state one corner together, as ASAP7's do."""
    from haloquant.api.macs.libraries import merge_liberty as merge

    library = merge(files, out)
    corner = library.corner
    stdout.print(
        f"{len(library.cells)} cells of {len(files)} files at {corner.voltage_v:g} V, {corner.temperature_c:g} °C; "
        f"written to {out}",
        highlight=False,
    )
