"""`measure`, `measure-ops` and `platforms`: tokens per second and per joule, and what single products take."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.table import Table

from haloquant.cli.console import print_notes, stdout
from haloquant.cli.options import Device, HeadBits, Json, ModelDtype, Quiet
from haloquant.units import engineering


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(epilog="Example: `haloquant measure model-halo --watts 12 --battery-wh 50`")(measure)
    app.command("measure-ops", epilog="Example: `haloquant measure-ops demo --out ops.json`")(measure_ops)
    app.command(epilog="Examples: `haloquant platforms` · `haloquant platforms mine.toml --json`")(platforms)


def measure(
    model: Annotated[str, typer.Argument(help="Model folder, plain or packed, or `demo`.")],
    tokens: Annotated[int, typer.Option(help="Tokens that each repetition times.", min=1)] = 50,
    repeats: Annotated[int, typer.Option(help="Number of repetitions.", min=1)] = 10,
    pause: Annotated[float, typer.Option(help="Seconds of rest before each repetition.", min=0.0)] = 5.0,
    watts: Annotated[
        float | None, typer.Option(help="Mean power of the machine, if no counter can be read.", min=1e-6)
    ] = None,
    battery_wh: Annotated[
        float | None, typer.Option("--battery-wh", help="Energy of a battery, for the words that it gives.", min=1e-6)
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", "-t", help="Machine on which a decode step is simulated, beside it.")
    ] = None,
    dtype: ModelDtype = "float32",
    activations: Annotated[
        Literal["float", "int8"], typer.Option(help="int8: a packed model rounds its inputs and multiplies integers.")
    ] = "float",
    head_bits: HeadBits = 16,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Generate text on this machine and measure tokens per second, per joule and words per battery."""
    from haloquant.api.models.measurement import measure as run

    found = run(
        model,
        tokens=tokens,
        repeats=repeats,
        pause_s=pause,
        watts=watts,
        battery_wh=battery_wh,
        target=target,
        dtype=dtype,
        activations=activations,
        head_bits=head_bits,
        device=device,
        progress=not quiet,
    )
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    table = Table("", "measured", "most that memory allows", *found.predicted_tok_s)
    simulated = (f"{rate:.4g}" for rate in found.predicted_tok_s.values())
    spread = f"{found.tok_s:.4g} ({found.tok_s_least:.4g} to {found.tok_s_most:.4g})"
    table.add_row("tokens/s", spread, f"{found.memory_bound_tok_s:.4g}", *simulated)
    stdout.print(table)
    stdout.print(
        f"{found.tokens} tokens, {found.repeats} times, on {found.device} with {found.threads} threads in "
        f"{found.dtype}; the prompt took {engineering(found.prompt_s, 's')}. A token reads "
        f"{engineering(found.read_b, 'B')}, and memory gave {engineering(found.read_b_per_s, 'B/s')}",
        highlight=False,
    )
    if found.watts is not None and found.tok_per_j is not None:
        stdout.print(
            f"{found.watts:.3g} W ({found.energy_source}): {found.tok_per_j:.4g} tokens/J, "
            f"{found.tok_per_j * found.words_per_token:.4g} words/J",
            highlight=False,
        )
    if found.battery_words is not None:
        stdout.print(f"a battery of {battery_wh:g} Wh gives {found.battery_words:,.0f} words", highlight=False)
    print_notes(found.notes)


def measure_ops(
    model: Annotated[
        str, typer.Argument(help="Hugging Face folder, GGUF file, config.json, `demo`, or a shape such as llama2-7b.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file of the table, for quantize.cost = measured:FILE.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="Tokens that are multiplied at a time; repeatable. 1, 8, 64 and 512.")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Passes over the layers that are timed.", min=1)] = 9,
    tile: Annotated[int, typer.Option(help="Rows and columns of a tile.", min=8, max=1 << 16)] = 128,
    sparse_share: Annotated[
        float, typer.Option(help="Share of the weights in the sparse part.", min=0.0, max=0.5)
    ] = 0.005,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the kernels of packed layers on this machine, by shape, words of the tiles and batch."""
    from haloquant.api.models.measurement import measure_ops as run

    found = run(
        model,
        out,
        batches=batch or (1, 8, 64, 512),
        repeats=repeats,
        tile=tile,
        sparse_share=sparse_share,
        device=device,
        progress=not quiet,
    )
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    table = Table("out x in", "words", "tokens", "median", "range", "bytes", "energy")
    for row in found.rows:
        table.add_row(
            f"{row.out_features} x {row.in_features}", row.mix, str(row.batch), engineering(row.median_s, "s"),
            f"{engineering(row.least_s, 's')} to {engineering(row.most_s, 's')}", engineering(row.read_b, "B"),
            "" if row.energy_j is None else engineering(row.energy_j, "J"),
        )  # fmt: skip
    stdout.print(table)
    source = found.energy_source or "no counter of energy can be read"
    stdout.print(f"{found.device}, {found.threads} thread(s), {found.repeats} passes; {source}", highlight=False)


def platforms(
    files: Annotated[list[Path] | None, typer.Argument(help="TOML files of platforms; without, the shipped.")] = None,
    json: Json = False,
) -> None:
    """List what devices reached, beside what their memory allows at the efficiency of one format."""
    from haloquant.accel.platforms import predict
    from haloquant.api.machines.measured_platforms import platforms as read

    found = read(*(files or ()))
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    for platform in found:
        table = Table(
            "model", "format", "bytes per token", "tokens/s", "share of bandwidth", "predicted", "error", "tokens/J",
            title=f"{platform.name}: {platform.device} ({platform.status})", title_justify="left",
        )  # fmt: skip
        for line in predict(platform):
            row, error = line.row, line.error
            table.add_row(
                row.model, row.format, engineering(row.read_b, "B"), f"{row.tok_s:g}", f"{line.efficiency:.0%}",
                "" if line.predicted_tok_s is None else f"{line.predicted_tok_s:.2f}",
                "" if error is None else f"{error:+.0%}",
                "" if row.tok_per_j is None else f"{row.tok_per_j:g}",
            )  # fmt: skip
        stdout.print(table)
        stdout.print(f"predicted from {platform.reference}. {platform.source}", style="dim", highlight=False)
