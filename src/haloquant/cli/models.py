"""`quantize`, `evaluate`, `compare`, `export`, `verify`: model folders in, model folders and perplexities out."""

from functools import partial
from math import isnan
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
import typer
from rich.table import Table

from haloquant.cli.console import progress, stdout
from haloquant.cli.options import Json, Profile, Quiet
from haloquant.cli.plan_tables import show_plan, stage_table
from haloquant.errors import InputError
from haloquant.recipe import Goal, Hardware, Recipe, Transform
from haloquant.recipe import Quantize as QuantizeSection
from haloquant.units import engineering

Model = Annotated[str, typer.Argument(help="Model folder in Hugging Face format, or `demo`.")]
Text = Annotated[str, typer.Option(help="Text to judge by (.txt, .xz), or `demo`.")]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command(epilog="`haloquant quantize demo --out demo-halo` · `haloquant quantize llama2-70b --dry-run`")(
        quantize
    )
    app.command(epilog="`haloquant evaluate demo-halo` · `haloquant evaluate demo --text wikitext2_raw_test.txt.xz`")(
        evaluate
    )
    app.command(epilog="`haloquant compare demo demo-halo`")(compare)
    app.command(epilog="`haloquant export demo-halo --from demo --to dequantized --out demo-plain`")(export)
    app.command(epilog="`haloquant verify demo-halo`")(verify)


def quantize(
    model: Model,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="Folder or URL (s3://...) of the packed model; empty or not there yet."),
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Folder to go on from, for an output at a URL.")] = None,
    profile: Profile = "default",
    goal: Annotated[Goal, typer.Option(help="Which point between speed and accuracy.")] = "bal",
    calibration: Annotated[str, typer.Option(help="Calibration text (.txt, .xz), `demo`, or `none`.")] = "demo",
    samples: Annotated[int, typer.Option(help="Calibration windows.", min=1)] = 32,
    tile: Annotated[int, typer.Option(help="Tile size: the array's.", min=8)] = 128,
    sparse_budget: Annotated[float, typer.Option(help="Share of weights kept in 8 bits.", min=0.0, max=0.5)] = 0.005,
    nearest: Annotated[bool, typer.Option("--nearest", help="Nearest rounding, no error compensation.")] = False,
    transform: Annotated[
        Transform, typer.Option(help="Scale inputs before rounding, folded into the norms and layers that make them.")
    ] = "none",
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave layers whose name matches in full precision, such as `experts`.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, ray, or ray=ADDRESS of a cluster.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes (local) or CPUs (ray); the same bytes for any.", min=1)] = 1,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it would take; do nothing. MODEL may be a shape or a config.json."),
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Say what every stage took beside what --dry-run predicts of it.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize a model to HALO's packed form, a layer at a time; stopped, it goes on from finished layers.

    Layers and shards of calibration windows are tasks for the workers.
    """
    from haloquant.jobs.engine.tasks import parse_engine
    from haloquant.jobs.inputs import model_folder, model_window
    from haloquant.jobs.quantize import checkpoint as stream
    from haloquant.jobs.quantize.forecast import plan, rates
    from haloquant.jobs.quantize.shared_storage import to_shared, work_folder
    from haloquant.jobs.quantize.transform import need_calibration
    from haloquant.lm.checkpoint.reader import open_checkpoint
    from haloquant.lm.checkpoint.remote import is_url, local_path
    from haloquant.store.profiles import find_profile

    need_calibration(transform, calibration != "none")
    if dry_run:
        show_plan(model, calibration != "none", samples, workers, goal == "bal", transform, json)
        return
    if out is None:
        raise InputError("--out must name the folder of the packed model (or --dry-run be given)")
    checkpoint = open_checkpoint(model if is_url(model) else model_folder(model), exclude=exclude or ())
    folder = checkpoint.folder
    where = parse_engine(engine, workers)
    windows, source = _windows(folder, calibration, samples)
    recipe = Recipe(
        hardware=Hardware(profile=profile, tile=tile),
        quantize=QuantizeSection(sparse_budget=sparse_budget, compensate=not nearest, transform=transform),
    )
    asked = stream.Asked(find_profile(profile), goal, recipe, windows, source)
    with progress(quiet) as tell:
        make = partial(stream.quantize_checkpoint, checkpoint, asked, progress=tell, engine=where)
        if is_url(out) and local_path(out) is None:
            done = to_shared(out, work or work_folder(out), make, tell)
        else:
            done = make(local_path(out) or Path(out))
    said = None
    if stages:
        planned = plan.predict(
            plan.of_checkpoint(checkpoint), rates.probe(), samples, model_window(folder), goal == "bal", transform
        )
        said = planned.free if windows is None else planned.calibrated
    if json:
        stdout.print_json(data=stream.told(done) | ({} if said is None else {"predicted": [vars(x) for x in said]}))
        return
    if said is not None:
        stdout.print(stage_table(done, said))
    again = f", {done.reused} of them finished before" if done.reused else ""
    notes = "".join(f"{note}\n" for note in done.notes)
    stdout.print(
        f"{done.layers} layers{again}: {done.bits.per_weight:.3f} bits per weight stored, "
        f"sensitivity from {done.source}\n{notes}"
        f"{done.seconds:.0f} s, at most {engineering(done.peak_b, 'B')} in memory\n"
        f"packed model in {out}; load it with transformers after `import haloquant`",
        highlight=False,
    )


def _windows(folder: Path, text: str, samples: int) -> tuple[np.ndarray | None, str]:
    """Calibration windows and what they are called."""
    if text == "none":
        return None, "nothing: data-free, every weight of a layer counts alike"
    from haloquant.jobs.inputs import model_window, read_text
    from haloquant.lm.calibration.in_memory import cut_windows

    found = read_text(folder, text, "calibration")
    return cut_windows(found.tokens, model_window(folder), samples), f"{samples} windows of {found.name}"


def evaluate(
    model: Model,
    text: Text = "demo",
    tokens: Annotated[int, typer.Option(help="Tokens of the text to use; 0 is the whole text.", min=0)] = 0,
    activations: Annotated[Literal["none", "token"], typer.Option(help="8-bit activations per token.")] = "none",
    tasks: Annotated[
        list[str] | None, typer.Option("--task", help="lm-eval task of --task-folder; repeatable.")
    ] = None,
    task_folder: Annotated[Path | None, typer.Option(help="Folder with lm-eval task files you trust.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Perplexity by the standard protocol, or lm-eval tasks, of a plain or packed model."""
    from haloquant.jobs import evaluation

    with progress(quiet) as tell:
        if tasks:
            if task_folder is None:
                raise InputError("--task must come with --task-folder, the folder of the task files")
            scores = evaluation.run_tasks(model, task_folder, tasks)
            stdout.print_json(msgspec.json.encode(scores).decode())
            return
        found = evaluation.judge(model, text, tokens, activations == "token", tell)
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    # One full window has no spread to take an error from.
    error = "" if isnan(found.standard_error) else f" ± {found.standard_error:.4f}"
    stdout.print(f"perplexity {found.perplexity:.4f}{error} ({found.description})", highlight=False)


def compare(
    models: Annotated[list[str], typer.Argument(help="Two or more model folders, plain or packed; or `demo`.")],
    text: Text = "demo",
    tokens: Annotated[int, typer.Option(help="Tokens of the text to use; 0 is the whole text.", min=0)] = 0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Models side by side on one text: stored bits and perplexity, with and without 8-bit activations."""
    from haloquant.jobs import evaluation
    from haloquant.jobs.inputs import model_folder

    for model in models:  # a wrong name is said before the first model is judged
        model_folder(model)
    rows: list[evaluation.Judged] = []
    with progress(quiet) as tell:
        for model in models:
            plain = evaluation.judge(model, text, tokens, False, tell)
            rounded = evaluation.judge(model, text, tokens, True, tell)
            rows.append(msgspec.structs.replace(plain, perplexity_a8=rounded.perplexity))
    if json:
        stdout.print_json(msgspec.json.encode(rows).decode())
        return
    table = Table("model", "bits/weight", "perplexity W", "W+A8", "against the first", title=rows[0].description)
    for row in rows:
        ratio = f"{row.perplexity - rows[0].perplexity:+.4f}"
        table.add_row(
            row.model, f"{row.bits_per_weight:.3f}", f"{row.perplexity:.4f}", f"{row.perplexity_a8:.4f}", ratio
        )
    stdout.print(table)


def export(
    model: Annotated[Path, typer.Argument(help="Packed HALO model folder.")],
    source: Annotated[str, typer.Option("--from", help="The model it was made of: folder or `demo`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder; empty or not there yet.")],
    to: Annotated[
        Literal["dequantized", "compressed-tensors"], typer.Option(help="A format that needs none of our code.")
    ] = "dequantized",
    quiet: Quiet = False,
) -> None:
    """Write a packed model in a form that loads without haloquant."""
    from haloquant.jobs.inputs import model_folder
    from haloquant.lm.checkpoint.reader import open_checkpoint
    from haloquant.lm.export.compressed_tensors import export_compressed
    from haloquant.lm.export.dequantized import export_dequantized
    from haloquant.lm.export.folding import with_others_of
    from haloquant.lm.packed.reader import iterate_layers, open_packed

    write = export_dequantized if to == "dequantized" else export_compressed
    packed = open_packed(model)
    checkpoint = with_others_of(open_checkpoint(model_folder(source)), packed.tensors)
    with progress(quiet) as tell:
        done = write(checkpoint, iterate_layers(packed), out, progress=lambda d, t: tell("export", d, t))
    stdout.print(f"{engineering(done.total_bytes, 'B')} in {done.folder}", highlight=False)


def verify(
    model: Annotated[Path, typer.Argument(help="Packed HALO model folder.")],
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="MAC profile it must be made for: a name or a file.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every byte of a packed model: manifest, digest, every code, and the MAC it is for, if one is named."""
    from haloquant.lm.packed.reader import verify as check
    from haloquant.store.profiles import find_profile, profile_sha256

    found = check(model, None if profile is None else profile_sha256(find_profile(profile)))
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    stdout.print(
        f"sound: {found.layers} layers, {found.weights:,} weights at {found.bits_per_weight:.3f} bits, "
        f"{found.tensors} tensors, {found.files} files, made for the MAC {found.profile}",
        highlight=False,
    )
