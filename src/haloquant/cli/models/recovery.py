"""`recover`: train scales and offsets of a packed model."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

import haloquant
from haloquant.cli.console import print_notes, stdout
from haloquant.cli.options import Device, Json, ModelDtype, Quiet
from haloquant.records import Trained


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command(epilog="Example: `haloquant recover demo-halo --teacher demo --judge demo --out demo-recovered`")(
        recover
    )


def recover(
    model: Annotated[Path, typer.Argument(help="Packed HALO model folder.")],
    teacher: Annotated[str, typer.Option(help="The full-precision model that was packed: folder or `demo`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new packed model; empty or not there yet.")],
    text: Annotated[str, typer.Option(help="Training text (.txt, .xz), or `demo`.")] = "demo",
    train: Annotated[
        Trained, typer.Option(help="What is trained. Offsets cost 16 bits for each output channel of a tile.")
    ] = "scales",
    steps: Annotated[int, typer.Option(help="Steps of training; 0 writes the model as it is.", min=0)] = 100,
    learning_rate: Annotated[
        float, typer.Option(help="Relative change of a scale or offset in one of the first steps.", min=0.0, max=1.0)
    ] = 3e-3,
    batch: Annotated[int, typer.Option(help="Windows of text per step.", min=1)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the order of the windows.", min=0)] = 0,
    judge: Annotated[
        str | None, typer.Option(help="Text on which the loss is measured before and after (.txt, .xz), or `demo`.")
    ] = None,
    judge_tokens: Annotated[int, typer.Option(help="Tokens of --judge to use; 0 is the whole text.", min=0)] = 0,
    dtype: ModelDtype = "float32",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train scales, offsets or both of a packed model towards its full-precision model; codes and classes stay."""
    found = haloquant.recover(
        model,
        out,
        teacher=teacher,
        text=text,
        train=train,
        steps=steps,
        learning_rate=learning_rate,
        batch=batch,
        seed=seed,
        judge=judge,
        judge_tokens=judge_tokens,
        dtype=dtype,
        device=device,
        progress=not quiet,
    )
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    stdout.print(
        f"divergence from full precision {found.divergence_before:.5f} -> {found.divergence_after:.5f} nats per token "
        f"on {found.held_out_windows} windows that did not train (step {found.taken_after} of {found.steps})",
        highlight=False,
    )
    if found.judged is not None:
        judged = found.judged
        change = f"{judged.rise_after - judged.rise_before:+.5f}"
        error = "" if judged.error is None else f" ± {judged.error:.5f}"
        stdout.print(
            f"loss over full precision {judged.rise_before:+.5f} -> {judged.rise_after:+.5f} nats per token "
            f"({change}{error}) on {judged.windows} windows of {judged.text}",
            highlight=False,
        )
    print_notes(found.notes)
    stdout.print(f"{found.layers} layers, {found.bits_per_weight:.3f} bits per weight, in {out}", highlight=False)
