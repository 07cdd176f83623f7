"""`early-exit`: losses of a decoder whose tokens leave early, and a deadline per sentence."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from haloquant.cli.console import print_notes, stdout
from haloquant.cli.machines.options import Fast, Target
from haloquant.cli.options import Device, Json, Profile, Quiet
from haloquant.units import engineering

if TYPE_CHECKING:
    from haloquant.dvfs.sentence_deadline import SentenceRow
    from haloquant.jobs.early_exit.losses import Rise


def register(app: typer.Typer) -> None:
    """Add this command to the app."""
    app.command(
        "early-exit",
        epilog="Examples: `haloquant early-exit demo --entropy 1 --entropy 2` · `haloquant early-exit demo --entropy 2 "
        "--ms 0.2 --profile sky130hd-digitsdadda_ks+lone-mul-abc`",
    )(early_exit)


def early_exit(
    model: Annotated[str, typer.Argument(help="Model folder, plain or packed, or `demo`.")],
    entropy: Annotated[
        list[float], typer.Option("--entropy", help="A token leaves below this entropy, in nats; may be repeated.")
    ],
    text: Annotated[str, typer.Option(help="Text on which losses are measured (.txt, .xz), or `demo`.")] = "demo",
    calibration: Annotated[str, typer.Option(help="Text from which the exit table is computed, or `demo`.")] = "demo",
    first_block: Annotated[int, typer.Option(help="Block after which an entropy is read first.", min=1)] = 1,
    coverage: Annotated[
        float, typer.Option(help="Share of calibration tokens that have left by the predicted exit.", min=0.0, max=1.0)
    ] = 0.9,
    tokens: Annotated[int, typer.Option(help="Tokens of each text to use; 0 is the whole text.", min=0)] = 0,
    ms: Annotated[
        float | None, typer.Option(help="Time of one token in milliseconds: also simulate sentences on a machine.")
    ] = None,
    target: Target = "edge_lpddr5x",
    profile: Profile = "default",
    idle: Annotated[float, typer.Option(help="Power after a sentence until its deadline, in watts.")] = 0.2,
    context: Annotated[int, typer.Option(help="Tokens in the cache; 0 is the model's window.", min=0)] = 0,
    fast: Fast = 0.8,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Let a token leave a decoder at the first block whose entropy is below a limit in nats, and predict that block.

    With --ms, sentences are simulated on a machine: each step gets a supply and a clock that end the sentence in time.
    """
    from haloquant.api.models import exit_evaluation

    found = exit_evaluation.early_exit(
        model, text, entropy=entropy, calibration=calibration, first_block=first_block, coverage=coverage,
        tokens=tokens, period_s=None if ms is None else ms / 1e3, target=target, profile=profile, idle_w=idle,
        context_tokens=context, fast_share=fast, device=device, progress=not quiet,
    )  # fmt: skip
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    table = Table(
        "block", "entropy", "loss", "over all blocks", *(f"leave below {row.threshold:g}" for row in found.thresholds),
        title=f"{found.model}, {found.windows} windows of {found.window} tokens, in nats per token",
        title_justify="left",
    )  # fmt: skip
    for block in found.blocks:
        shares = (f"{row.exits[block.block - 1]:.1%}" for row in found.thresholds)
        table.add_row(str(block.block), f"{block.entropy:.3f}", f"{block.loss:.4f}", _rise(block.rise), *shares)
    stdout.print(table)
    losses = Table(
        "leave below", "by entropy: blocks", "loss", "with known keys", "right", "as predicted: blocks", "loss",
        "by both: blocks", "loss", title="Rise of the loss", title_justify="left",
    )  # fmt: skip
    for row in found.thresholds:
        losses.add_row(
            f"{row.threshold:g}", f"{row.mean_blocks:.2f}", _rise(row.rise), _rise(row.rise_known),
            "–" if row.covered is None else f"{row.covered:.1%}", f"{row.predicted_blocks:.2f}",
            _rise(row.predicted_rise), f"{row.tested_blocks:.2f}", _rise(row.tested_rise),
        )  # fmt: skip
    stdout.print(losses)
    for row in found.thresholds:
        if row.deadline is not None and found.period_s is not None:
            _print_sentences(found.target or "", found.period_s, found.sentences or 0, row.threshold, row.deadline)
    print_notes(found.notes)


def _print_sentences(
    target: str, period_s: float, sentences: int, threshold: float, rows: "tuple[SentenceRow, ...]"
) -> None:
    table = Table(
        "way", "energy per token", "a sentence: median", "95 %", "busy: median", "95 %", "late tokens", "late",
        title=f"{sentences} sentences on {target}, {engineering(period_s, 's')} per token, leave below {threshold:g}",
        title_justify="left",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.way, engineering(row.token_j, "J", 4), engineering(row.median_j, "J"), engineering(row.p95_j, "J"),
            engineering(row.median_s, "s"), engineering(row.p95_s, "s"), f"{row.late_tokens:.1%}",
            str(row.late_sentences),
        )  # fmt: skip
    stdout.print(table)


def _rise(rise: "Rise") -> str:
    return f"{rise.nats:+.4f}" + ("" if rise.error is None else f" ± {rise.error:.4f}")
