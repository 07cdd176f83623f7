"""The output of `explain` on a finished run.

With `--layer` it is a map of the layer's tile classes, and the reason for the class of each tile; with `--attention` a
row for each attention.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from haloquant.api.explanations import explain_attention, explain_tiles
from haloquant.cli.console import bold, stdout
from haloquant.jobs.explain_tiles import LayerReasons, TileReason, class_letters
from haloquant.units import engineering

NANO = 1e-9


def show(folder: Path, layer: str, method: str, rows: int) -> None:
    """Print the map and a table of at most `rows` tiles, the most sensitive first."""
    found = explain_tiles(folder, layer, method)
    marks = class_letters([name for name, _, _ in found.classes])
    down, across = found.shape
    stdout.print(bold(layer, f" in {method}: {down} x {across} tiles"), highlight=False)
    for mark, (name, frequency_hz, words) in zip(marks, found.classes, strict=True):
        count = sum(line.count(mark) for line in found.letters())
        clock = engineering(frequency_hz, "Hz")
        stdout.print(f"  {mark}  {name}: {words} words at {clock}, {count} of {down * across} tiles", highlight=False)
    stdout.print("\n" + "\n".join(f"  {line}" for line in found.letters()) + "\n", highlight=False, markup=False)
    stdout.print(_rule(found), highlight=False)
    stdout.print(_table(found, marks, rows))
    if len(found.tiles) > rows:
        stdout.print(f"{len(found.tiles) - rows} less sensitive tiles are left out; --rows shows more", style="dim")


def show_attention(folder: Path, tokens: int) -> None:
    """Print a row for each attention of a run's packed model."""
    found = explain_attention(folder, tokens=tokens)
    table = Table(
        "attention", "cosine of the maps", "lowest head", "spread in full precision", "quantized", "change",
        title="what the run's weights changed in attention, activations in floating point",
        title_justify="left",
    )  # fmt: skip
    for row in found:
        low = min(range(len(row.cosines)), key=lambda head: row.cosines[head])
        table.add_row(
            str(row.number), f"{row.cosine:.4f}", f"{row.cosines[low]:.4f} (head {low + 1} of {len(row.cosines)})",
            f"{row.spread:.2f}", f"{row.quantized_spread:.2f}", f"{row.quantized_spread - row.spread:+.2f}",
        )  # fmt: skip
    stdout.print(table)
    least = min(found, key=lambda row: row.cosine)
    stdout.print(f"attention {least.number} changed most", highlight=False)


def _rule(found: LayerReasons) -> str:
    """Return a sentence on where the allocation stopped."""
    begin = (
        "Every tile starts in its fastest class; steps to a slower one are taken in the order of predicted loss saved "
        "per time of a MAC cycle, over the whole model. "
    )
    where = f"This method stops after {found.steps_taken} of {found.steps} steps"
    taken, left = found.last_taken_nats_per_s, found.first_left_nats_per_s
    last = "" if taken is None else f"; the last one taken saved {_rate(taken)}"
    next_one = "" if left is None else f"; the first one left would have saved {_rate(left)}"
    return begin + where + last + next_one + ". Sensitivity is shown beside it; it does not decide."


def _table(found: LayerReasons, marks: Sequence[str], rows: int) -> Table:
    losses = [f"loss as {name}, nats" for name, _, _ in found.classes]
    table = Table("tile", "class", f"sensitivity rank of {found.model_tiles}", *losses, "why")
    for tile in sorted(found.tiles, key=lambda tile: tile.rank)[:rows]:
        cells = (f"{loss:.3g}" for loss in tile.loss)
        table.add_row(f"{tile.down}, {tile.across}", marks[tile.chosen], str(tile.rank), *cells, _reason(tile))
    return table


def _reason(tile: TileReason) -> str:
    """Return the last step to a slower class that was taken for this tile, or else the first that was not."""
    if not tile.saving:
        return "a slower class would save nothing"
    if tile.taken == len(tile.saving):
        return f"slower saves {_rate(tile.saving[-1])}: taken"
    return f"slower would save {_rate(tile.saving[tile.taken])}: not enough"


def _rate(nats_per_s: float) -> str:
    return f"{nats_per_s * NANO:.3g} nats/ns"
