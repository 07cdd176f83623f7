"""`codesign`: search an element, a set of words and a tile size together, at one area."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from haloquant.cli.console import stdout
from haloquant.cli.options import Json, Out, Quiet
from haloquant.errors import InputError
from haloquant.units import engineering

if TYPE_CHECKING:
    from haloquant.report.charts.codesign import DesignRow


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command(
        epilog="Example: `haloquant codesign demo --library asap7 --area-mm2 1 --max-loss 0.05 --shape llama2-7b`"
    )(codesign)


def codesign(
    model: Annotated[str, typer.Argument(help="`demo`, or a model folder in Hugging Face format.")],
    library: Annotated[
        str, typer.Option("--library", "-l", help="Beginning of a cell library's name, or a Liberty file.")
    ] = "asap7",
    area_mm2: Annotated[float, typer.Option("--area-mm2", help="Area of all arrays, in square millimetres.")] = 1.0,
    max_loss: Annotated[
        float, typer.Option("--max-loss", help="Largest rise of the loss over full precision, in nats.")
    ] = 0.05,
    out: Out = Path("codesigned"),
    target: Annotated[str, typer.Option("--target", "-t", help="Machine whose memory the arrays have.")] = (
        "edge_lpddr5x"
    ),
    element: Annotated[
        list[str] | None, typer.Option("--element", help="A further element's profile; several times for more.")
    ] = None,
    shape: Annotated[str, typer.Option(help="`model`, or a named shape whose passes are simulated.")] = "model",
    tile: Annotated[list[int] | None, typer.Option(help="Tile size to try; several times for more.")] = None,
    words: Annotated[
        list[str] | None,
        typer.Option(help="A set of words to evaluate, such as -4,-2,-1,0,1,2,4; several times for more."),
    ] = None,
    evaluate: Annotated[
        int, typer.Option(help="Most sets of words that are evaluated, unless more are given.", min=1)
    ] = 8,
    supply: Annotated[
        list[float] | None,
        typer.Option(help="Supply to try, as a share of the elements' own; several times for more."),
    ] = None,
    prefill: Annotated[int, typer.Option("--prefill", help="Tokens of the prefill.", min=1)] = 2048,
    context: Annotated[int, typer.Option("--context", help="Tokens in the cache at the decode step.", min=1)] = 2048,
    batch: Annotated[int, typer.Option(help="Sequences that are decoded together.", min=1)] = 1,
    calibration: Annotated[str, typer.Option(help="Text for calibration (.txt, .xz).")] = "demo",
    text: Annotated[str, typer.Option(help="Text for evaluation (.txt, .xz).")] = "demo",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search elements, sets of words and tile sizes for the front of accuracy, tokens/s/mm2 and J/token.

    Losses are predicted and costs simulated for all. The front is then quantized and evaluated for real. Each design is
    written as a recipe and a profile for `haloquant run`.
    """
    from haloquant.api.machines.design_search import codesign as search

    found = search(
        model, out, library=library, area_mm2=area_mm2, max_loss=max_loss, target=target, elements=element or (),
        shape=shape, tiles=tile or (128, 256, 512), words=[_numbers(each) for each in words or ()], evaluate=evaluate,
        supplies=supply or (), prefill_tokens=prefill, context_tokens=context, batch=batch,
        calibration=calibration, evaluation=text, progress=not quiet,
    )  # fmt: skip
    if json:
        document = (out / "codesign.json").read_text()
        stdout.print(document, end="", highlight=False, markup=False, soft_wrap=True)
        return
    search_, settings = found.search, found.search.settings
    table = Table(
        "pass", "words", "element", "tile", "bus", "supply", "loss, nats", "divergence", "tokens/s/mm²",
        "energy/token", "energy × time",
        title=f"{settings.area_m2 * 1e6:g} mm², loss up to {settings.max_loss:g} nats", title_justify="left",
    )  # fmt: skip
    for phase in ("prefill", "decode"):
        _add(table, [row for row in found.reference if row.phase == phase], "GPTQ on ")
        _add(table, [row for row in found.rows if row.phase == phase], "")
    stdout.print(table)
    stdout.print(
        f"{search_.designs} designs simulated; {len(search_.losses)} sets of words evaluated; energy × time: GPTQ's on "
        "the best INT4 design over the design's (above 1: better); divergence from full precision in nats, weights "
        "alone; *: not higher than GPTQ's by two standard errors",
        style="dim", highlight=False,
    )  # fmt: skip
    for note in search_.notes:
        stdout.print(note, style="dim", highlight=False)
    for phase in ("prefill", "decode"):
        stdout.print(found.verdict(phase), highlight=False)
    stdout.print(f"codesign.json, codesign.html, codesign.svg, designs/ in {out}", style="dim", highlight=False)


def _add(table: Table, rows: "list[DesignRow]", before: str) -> None:
    for row in rows:
        table.add_row(
            row.phase, before + row.words_name, row.element, str(row.tile), str(row.columns_per_register),
            f"{row.supply_v:.3g} V",
            f"{row.loss_nats:.4f}", f"{row.divergence_nats:.4f}{' *' if row.as_accurate_as_reference else ''}",
            f"{row.tokens_per_s_mm2:.4g}",
            engineering(row.token_j, "J"),
            "–" if row.energy_time_ratio is None else f"{row.energy_time_ratio:.2f}×",
        )  # fmt: skip


def _numbers(text: str) -> list[int]:
    """Return whole numbers separated by commas.

    Raises:
        InputError: A part is none.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"a set of words must be whole numbers separated by commas, not {text!r:.80}") from None
