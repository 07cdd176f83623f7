"""`profiles`: what the MACs that come with the package do with their weights' values."""

import msgspec
import numpy as np
import typer
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.cli.options import Json
from haloquant.store.profiles import read_profile, shipped_profiles
from haloquant.types import MacProfile


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(epilog="`haloquant profiles` · `haloquant profiles --json`")(profiles)


def profiles(json: Json = False) -> None:
    """List the MAC profiles that come with the package."""
    found = {name: read_profile(path) for name, path in shipped_profiles().items()}
    if json:
        rows = {name: _row(profile) for name, profile in found.items()}
        stdout.print(msgspec.json.encode(rows).decode(), highlight=False, markup=False, soft_wrap=True)
        return
    table = Table("profile", "slowest, ps", "16 words", "9 words", "energy, fJ", "corners", "description")
    for name, profile in found.items():
        row = _row(profile)
        table.add_row(
            name,
            f"{row['slowest_ps']:.0f}",
            f"{row['ratio_16']:.2f}×",
            f"{row['ratio_9']:.2f}×",
            f"{row['mean_energy_fj']:.1f}",
            f"{row['corners']:.0f}",
            profile.description,
        )
    stdout.print(table)
    stdout.print("16 and 9 words: how much faster than the slowest value its fastest words are (static delay).")


def _row(profile: MacProfile) -> dict[str, float]:
    delay = np.sort(profile.delay_s[0])
    return {
        "slowest_ps": float(delay[-1]) * 1e12,
        "ratio_16": float(delay[-1] / delay[min(15, len(delay) - 1)]),
        "ratio_9": float(delay[-1] / delay[min(8, len(delay) - 1)]),
        "mean_energy_fj": float(np.nanmean(profile.energy_j[0])) * 1e15,
        "corners": float(len(profile.corners)),
    }
