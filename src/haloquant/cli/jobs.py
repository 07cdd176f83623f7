"""`run` and `report`: do everything that a recipe describes, and draw its report again."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

import haloquant
from haloquant.cli.console import bold, print_notes, stdout
from haloquant.cli.options import Json, Out, Quiet, RecipeDevice
from haloquant.recipe import example_recipe
from haloquant.report.results import Results, encode_results
from haloquant.report.tables import cards, method_table


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(epilog="Examples: `haloquant run --out out` · `haloquant run recipe.toml --out out --json`")(run)
    app.command(epilog="Example: `haloquant report out`")(report)


def run(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe in TOML; the demo job without one.")] = None,
    out: Out = Path("out"),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model folder instead of the recipe's.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-p", help="MAC profile instead of the recipe's.")] = None,
    text: Annotated[Path | None, typer.Option(help="Evaluation text (.txt, .xz) instead of the recipe's.")] = None,
    whole_text: Annotated[bool, typer.Option("--whole-text", help="Evaluate on the whole text, not a sample.")] = False,
    device: RecipeDevice = None,
    engine: Annotated[str, typer.Option(help="local, ray, or ray=ADDRESS of a cluster.")] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes (local) or CPUs (ray); any number writes the same bytes.", min=1)
    ] = 1,
    export: Annotated[
        list[str] | None,
        typer.Option(help="Rival of the recipe to write as an ordinary model, to OUT/rivals; may be repeated."),
    ] = None,
    validate: Annotated[
        bool, typer.Option("--validate", help="Check the recipe and everything it names; compute nothing.")
    ] = False,
    example: Annotated[bool, typer.Option("--example", help="Print the default recipe and do nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize, schedule, simulate, evaluate, pack and report: everything that a recipe describes.

    Finished steps are found again by the hash of their inputs, so the same command continues a stopped job.
    """
    if example:
        stdout.print(example_recipe(), end="", highlight=False, markup=False)
        return
    if validate:
        haloquant.validate(
            recipe, model=model, profile=profile, text=text, device=device, engine=engine, workers=workers
        )
        stdout.print("the recipe is sound: all that it names was opened, and its parts fit together")
        return
    done = haloquant.run(
        recipe,
        out,
        model=model,
        profile=profile,
        text=text,
        whole_text=whole_text,
        device=device,
        engine=engine,
        workers=workers,
        export=export or (),
        progress=not quiet,
    )
    if json:
        stdout.print(encode_results(done.results).decode(), end="", highlight=False, markup=False, soft_wrap=True)
        return
    _show(done.results)
    again = f" ({len(done.reused)} finished steps reused)" if done.reused else ""
    stdout.print(f"\n{done.seconds:.0f} s{again}. Everything is in", bold(out, ":"))
    stdout.print("  report.html  the report, with pictures", highlight=False)
    stdout.print("  results.json, results.md  the same numbers", highlight=False)
    if (out / "model").is_dir():
        stdout.print("  model/  the packed model; loads in transformers after `import haloquant`", highlight=False)
    for name in export or ():
        stdout.print(f"  rivals/{name}/  this rival with plain weights; loads in transformers", highlight=False)
    stdout.print("  figures/  every picture as SVG and PNG", highlight=False)


def _show(results: Results) -> None:
    """Print the table of methods, the headline numbers and the warnings."""
    methods = method_table(results)
    table = Table(title=f"{results.model}: {results.evaluation}", title_justify="left")
    for index, head in enumerate(methods.head[:9]):
        table.add_column(head, justify="left" if index == 0 else "right")
    for row in methods.rows:
        table.add_row(*row.cells[:9], style="bold" if row.family == "halo" else None)
    stdout.print(table)
    for card in cards(results):
        against = ", ".join(f"{name} {value}" for name, value in card.against)
        stdout.print(bold(card.title, f" {card.value}   ({against}; {card.note})"), highlight=False)
    print_notes((*results.notes, *results.warnings))


def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of a finished run.")],
    quiet: Quiet = False,
) -> None:
    """Draw the report of a finished run again, from its results.json."""
    stdout.print(str(haloquant.draw_report(folder, progress=not quiet)))
