"""`run` and `report`: the whole job, and its pictures again."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from haloquant.cli.console import progress, stdout
from haloquant.cli.options import Json, Out, Quiet
from haloquant.recipe import Recipe, Text, example_recipe, read_recipe
from haloquant.report.results import Results, encode_results
from haloquant.report.tables import cards, method_table


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(epilog="`haloquant run --out out` · `haloquant run recipe.toml --out out --json`")(run)
    app.command(epilog="`haloquant report out`")(report)


def run(
    recipe: Annotated[Path | None, typer.Argument(help="Recipe in TOML; the demo job without one.")] = None,
    out: Out = Path("out"),
    model: Annotated[str | None, typer.Option("--model", "-m", help="Model folder instead of the recipe's.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-p", help="MAC profile instead of the recipe's.")] = None,
    text: Annotated[Path | None, typer.Option(help="Evaluation text (.txt, .xz) instead of the recipe's.")] = None,
    whole_text: Annotated[bool, typer.Option("--whole-text", help="Evaluate on the whole text, not a sample.")] = False,
    engine: Annotated[str, typer.Option(help="local, ray, or ray=ADDRESS of a cluster.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes (local) or CPUs (ray); the same bytes for any.", min=1)] = 1,
    validate: Annotated[
        bool, typer.Option("--validate", help="Check the recipe and all it names; do nothing.")
    ] = False,
    example: Annotated[bool, typer.Option("--example", help="Print the default recipe and do nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize, schedule, simulate, evaluate, pack and report: everything a recipe asks for.

    Finished steps are found again by the hash of what went into them, so a stopped job goes on where it was. Methods
    are tasks for the workers.
    """
    if example:
        stdout.print(example_recipe(), end="", highlight=False, markup=False)
        return
    asked = _override(read_recipe(recipe) if recipe else Recipe(), model, profile, text, whole_text)
    # Imported here so that `--help` does not wait for torch.
    from haloquant.jobs.compare import job
    from haloquant.jobs.engine.tasks import parse_engine

    where = parse_engine(engine, workers)
    if validate:
        job.open_named(asked)
        stdout.print("the recipe is sound: its model, texts, profile and targets were found and opened")
        return
    with progress(quiet) as tell:
        done = job.run(asked, out, tell, where)
    if json:
        stdout.print(encode_results(done.results).decode(), end="", highlight=False, markup=False, soft_wrap=True)
        return
    _show(done.results)
    again = f" ({len(done.reused)} finished steps reused)" if done.reused else ""
    stdout.print(f"\n{done.seconds:.0f} s{again}. Everything is in [bold]{out}[/bold]:")
    stdout.print("  report.html  the report, with pictures", highlight=False)
    stdout.print("  results.json, results.md  the same numbers", highlight=False)
    if (out / "model").is_dir():
        stdout.print("  model/  the packed model; loads in transformers after `import haloquant`", highlight=False)
    stdout.print("  figures/  every picture as SVG and PNG", highlight=False)


def _override(recipe: Recipe, model: str | None, profile: str | None, text: Path | None, whole: bool) -> Recipe:
    replace = msgspec.structs.replace
    if model:
        recipe = replace(recipe, model=replace(recipe.model, path=model))
    if profile:
        recipe = replace(recipe, hardware=replace(recipe.hardware, profile=profile))
    texts: Text = recipe.text
    if text:
        texts = replace(texts, evaluation=str(text))
    if whole:
        texts = replace(texts, evaluation_tokens=0)
    return replace(recipe, text=texts)


def _show(results: Results) -> None:
    """The table of methods and the three numbers that matter."""
    made = method_table(results)
    table = Table(title=f"{results.model}: {results.evaluation}", title_justify="left")
    for index, head in enumerate(made.head[:8]):
        table.add_column(head, justify="left" if index == 0 else "right")
    for row in made.rows:
        table.add_row(*row.cells[:8], style="bold" if row.family == "halo" else None)
    stdout.print(table)
    for card in cards(results):
        against = ", ".join(f"{name} {value}" for name, value in card.against)
        stdout.print(f"[bold]{card.title}[/bold] {card.value}   ({against}; {card.note})", highlight=False)
    for text in results.warnings:
        stdout.print(f"[yellow]note:[/yellow] {text}", highlight=False)


def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of a finished run.")],
    quiet: Quiet = False,
) -> None:
    """Draw the report of a finished job again, from its results.json."""
    from haloquant.jobs.compare.job import write_report
    from haloquant.jobs.explain_tiles import read_results

    results = read_results(folder)
    with progress(quiet) as tell:
        write_report(results, folder, tell)
    stdout.print(str(folder / "report.html"))
