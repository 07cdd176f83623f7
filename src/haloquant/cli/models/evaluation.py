"""`evaluate` and `compare`: perplexities of models on a text, and scores on lm-eval tasks."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.table import Table

import haloquant
from haloquant.cli.console import print_notes, stdout
from haloquant.cli.options import (
    Device,
    HeadBits,
    InputAllocation,
    InputSparsity,
    Json,
    ModelDtype,
    Quiet,
    refuse_others,
)
from haloquant.errors import InputError
from haloquant.records.mixed_activations import LowTokens

Evaluated = Annotated[
    str, typer.Argument(help="Packed folder, Hugging Face folder, GGUF file, name in the hub's cache, URL, or `demo`.")
]
Text = Annotated[str, typer.Option(help="Evaluation text (.txt, .xz), or `demo`.")]
ActivationBits = Annotated[int, typer.Option(help="Bits of a rounded activation.", min=2, max=16)]
Tokens = Annotated[int, typer.Option(help="Tokens of the text to use; 0 is the whole text.", min=0)]
# What `evaluate` heeds with --task.
TASK_OPTIONS = frozenset(
    {"--task", "--task-folder", "--text", "--limit", "--activations", "--activation-bits", "--dtype", "--device",
     "--json", "--quiet"}
)  # fmt: skip


def evaluate(
    model: Evaluated,
    text: Text = "demo",
    tokens: Tokens = 0,
    activations: Annotated[
        Literal["none", "token", "mixed"],
        typer.Option(
            help="token: round activations, with one scale per token; mixed: a share of tokens to fewer bits."
        ),
    ] = "none",
    activation_bits: ActivationBits = 8,
    low_share: Annotated[
        float | None,
        typer.Option(
            help="mixed: share of the tokens in --low-bits; left out for a packed model with thresholds of its own.",
            min=0.0,
            max=1.0,
        ),
    ] = None,
    low_bits: Annotated[int, typer.Option(help="mixed: bits of these tokens.", min=2, max=15)] = 4,
    low_tokens: Annotated[
        LowTokens,
        typer.Option(
            help="mixed: which tokens, by their products with the first key; others than lowest are controls."
        ),
    ] = "lowest",
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="lm-eval task of --task-folder; repeatable. Without a folder: `text`, `wikitext`, `last-word` or "
            "`next-passage`, made from --text.",
        ),
    ] = None,
    task_folder: Annotated[
        Path | None, typer.Option(help="Folder with lm-eval task files. They can run code: use only those you trust.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Documents, pages or questions of a task at most; 0: all.", min=0)] = 0,
    json: Json = False,
    dtype: ModelDtype = "float32",
    by_block: Annotated[
        bool, typer.Option("--by-block", help="One decoder block in memory at a time: a plain model that does not fit.")
    ] = False,
    input_sparsity: InputSparsity = 0.0,
    input_allocation: InputAllocation = "uniform",
    calibration: Annotated[
        str, typer.Option(help="Text that gives the thresholds of --input-sparsity (.txt, .xz), or `demo`.")
    ] = "demo",
    dense_share: Annotated[
        float, typer.Option(help="Share of each window that is dense and not scored, as a prompt.", min=0.0, max=1.0)
    ] = 0.0,
    head_bits: HeadBits = 16,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure the perplexity of a plain or packed model on a text, or its scores on lm-eval tasks."""
    given = locals()
    if tasks:
        if activations == "mixed":
            raise InputError("--activations must be none or token with --task, not mixed")
        if tokens:
            raise InputError("--tokens must come without --task: --limit says how much of a task is taken")
        if by_block:
            raise InputError("--by-block must come without --task: tasks need the whole model in memory")
        refuse_others(evaluate, given, TASK_OPTIONS, "come without --task: a task scores whole texts, with all inputs")
        scores = haloquant.evaluate_tasks(
            model,
            task_folder,
            tasks=tasks,
            text=text,
            limit=limit,
            activations=activations,
            activation_bits=activation_bits,
            dtype=dtype,
            device=device,
            progress=not quiet,
        )
        stdout.print_json(msgspec.json.encode(scores).decode())
        return
    for name in (name for name, given in {"--task-folder": task_folder, "--limit": limit}.items() if given):
        raise InputError(f"{name} must come with --task, the name of a task")
    found = haloquant.evaluate(
        model,
        text,
        tokens=tokens,
        activations=activations,
        activation_bits=activation_bits,
        low_share=low_share,
        low_bits=low_bits,
        low_tokens=low_tokens,
        dtype=dtype,
        by_block=by_block,
        device=device,
        input_sparsity=input_sparsity,
        input_allocation=input_allocation,
        calibration=calibration,
        dense_share=dense_share,
        head_bits=head_bits,
        progress=not quiet,
    )
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    # The standard error of a single window is not defined.
    error = "" if found.standard_error is None else f" ± {found.standard_error:.4f}"
    stdout.print(f"perplexity {found.perplexity:.4f}{error} ({found.description})", highlight=False)
    if found.input_density is not None:
        stdout.print(f"{found.input_density:.1%} of the multiply-accumulates are left", highlight=False)
    if found.low_share is not None:
        stdout.print(f"{found.low_share:.1%} of the tokens in low bits, as the mean over layers", highlight=False)
    print_notes(found.notes)


def compare(
    models: Annotated[list[str], typer.Argument(help="Two or more model folders, plain or packed; or `demo`.")],
    text: Text = "demo",
    tokens: Tokens = 0,
    dtype: ModelDtype = "float32",
    activation_bits: ActivationBits = 8,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare models on one text: stored bits per weight, and perplexity with and without rounded activations."""
    rows = haloquant.compare(
        models,
        text,
        tokens=tokens,
        dtype=dtype,
        activation_bits=activation_bits,
        device=device,
        progress=not quiet,
    )
    if json:
        stdout.print_json(msgspec.json.encode(rows).decode())
        return
    table = Table(
        "model", "bits/weight", "perplexity W", f"W+A{activation_bits}", "against the first", title=rows[0].description
    )
    for row in rows:
        ratio = f"{row.perplexity - rows[0].perplexity:+.4f}"
        table.add_row(
            row.model, f"{row.bits_per_weight:.3f}", f"{row.perplexity:.4f}", f"{row.perplexity_a8:.4f}", ratio
        )
    stdout.print(table)
    print_notes(tuple(dict.fromkeys(note for row in rows for note in row.notes)))
