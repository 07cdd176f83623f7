"""`transfer`: what it costs to send a packed model to devices."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

import haloquant
from haloquant.cli.console import stdout
from haloquant.cli.options import Json, Quiet
from haloquant.units import engineering

WAYS = {"stored": "as stored", "compressed": "compressed by xz", "changed": "as changes of the base, by xz"}


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command(epilog="Example: `haloquant transfer model-halo --base model-halo-old --mbit-s 20 --clients 20`")(
        transfer
    )


def transfer(
    model: Annotated[Path, typer.Argument(help="Packed HALO model folder.")],
    base: Annotated[
        Path | None, typer.Option(help="Packed model that the receivers have already, of the same structure.")
    ] = None,
    mbit_s: Annotated[float, typer.Option("--mbit-s", help="Rate of the link in Mbit/s.", min=1e-6)] = 20.0,
    clients: Annotated[int, typer.Option(help="Receivers, which share the link.", min=1)] = 1,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what it costs to send a packed model over a link: by part, compressed, and as changes of a base."""
    found = haloquant.transfer(model, base=base, mbit_s=mbit_s, clients=clients, progress=not quiet)
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    table = Table("part", "stored", "entropy", "xz", "entropy given base", "changes, xz")
    ways = ("stored_b", "entropy_b", "compressed_b", "changed_entropy_b", "changed_b")
    for part in found.parts:
        sizes = [getattr(part, way) for way in ways]
        table.add_row(part.part, *("" if size is None else engineering(size, "B") for size in sizes))
    shown = ways if base is not None else ways[:3]
    table.add_row("all", *(engineering(found.total_b(way), "B") for way in shown))
    stdout.print(table)
    codes = next(part for part in found.parts if part.part == "codes")
    stdout.print(
        f"codes: {8 * codes.stored_b / found.weights:.3f} bits per weight stored, "
        f"{8 * codes.entropy_b / found.weights:.3f} by entropy",
        highlight=False,
    )
    for way, seconds in found.seconds.items():
        stdout.print(
            f"{WAYS[way]}: {engineering(seconds, 's')} to {clients} receiver{'s' if clients > 1 else ''} at "
            f"{mbit_s:g} Mbit/s",
            highlight=False,
        )
