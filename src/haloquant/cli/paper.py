"""`paper`: the HALO paper, claim by claim."""

from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace
from rich.table import Table
from rich.text import Text

from haloquant.cli.console import stdout
from haloquant.cli.options import Json, Quiet

_COLOURS = {"reproduced": "green", "partly": "yellow", "not reproduced": "red"}


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    examples = (
        "Examples: `haloquant paper` · `haloquant paper --figure 'figure 8'` · `haloquant paper --model demo` · "
        "`haloquant paper --out paper`, which writes paper.html, paper.json and paper.md"
    )
    app.command(epilog=examples)(paper)


def paper(
    figure: Annotated[
        str | None,
        typer.Option(
            "--figure",
            help="Print only the rows whose place begins with this text, such as 'figure 10' or method. "
            "The files of --out have all rows.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model folder, a GGUF file, or demo, for the rows of table 2; takes minutes or hours.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", help="Evaluation text (.txt, .xz) for the model, or demo; may be given several times."),
    ] = None,
    tokens: Annotated[
        int,
        typer.Option(
            "--tokens", help="Tokens of each text to evaluate, in windows spread over it; 0 takes the whole text."
        ),
    ] = 8192,
    window: Annotated[
        int | None,
        typer.Option("--window", help="Tokens of a window; the model's context, at most 2048, if not given."),
    ] = None,
    calibration_tokens: Annotated[
        int, typer.Option("--calibration-tokens", help="Tokens of the demo's calibration text to round with.")
    ] = 8192,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Rounding of HALO's rows: paper, haloquant; both where it is not given."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Also write paper.html, paper.json and paper.md there; an empty folder, or one haloquant made.",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print every claim of the HALO paper: its number, ours under its premises and on fair machines, the verdict."""
    from haloquant.api.paper import METHODS, check_paper
    from haloquant.errors import InputError
    from haloquant.report.paper.markdown import HEAD, cells
    from haloquant.report.paper.rows import PLACES, counts, encode_report

    if figure is not None and not any(place.startswith(figure) for place in PLACES):
        raise InputError(f"--figure must be the beginning of one of {', '.join(PLACES)}, not {figure!r}")
    report = check_paper(
        out,
        model=model,
        text=text or "demo",
        tokens=tokens,
        window=window,
        calibration_tokens=calibration_tokens,
        methods=method or METHODS,
        progress=not quiet,
    )
    shown = replace(report, rows=[row for row in report.rows if figure is None or row.place.startswith(figure)])
    if json:
        stdout.print(encode_report(shown).decode(), end="", highlight=False, markup=False, soft_wrap=True)
        return
    table = Table(*HEAD[:6], title="HALO (AAAI-26, article 39406), claim by claim", title_justify="left")
    for row in cells(shown):
        table.add_row(*row[:5], Text(row[5], _COLOURS.get(row[5], "blue")))
    stdout.print(table)
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts(report.rows).items())
    stdout.print(f"All rows: {said}. Reasons stand in --json and in the files of --out.", highlight=False)
    for note in report.notes:
        stdout.print(note, style="dim", highlight=False)
    if out is not None:
        stdout.print(f"paper.html, paper.json, paper.md in {out}", highlight=False)
