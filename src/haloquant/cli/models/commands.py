"""`quantize`, `export` and `verify`: commands that make packed models, and check and convert them."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

import haloquant
from haloquant.cli.console import stdout
from haloquant.cli.models.evaluation import compare, evaluate
from haloquant.cli.options import Devices, InputAllocation, InputSparsity, Json, Profile, Quiet
from haloquant.errors import InputError
from haloquant.recipe import Basis, Goal, Level, Method, Transform
from haloquant.records import CalibrationDtype, ValueHessian
from haloquant.units import engineering

Model = Annotated[
    str,
    typer.Argument(
        help="Hugging Face folder, GGUF file, name in the hub's cache, URL, or `demo`, or (--dry-run) a shape."
    ),
]


def register(app: typer.Typer) -> None:
    """Add these commands to the app."""
    app.command(
        epilog="Examples: `haloquant quantize demo --out demo-halo` · `haloquant quantize llama2-70b --dry-run`"
    )(quantize)
    app.command(
        epilog="Examples: `haloquant evaluate demo-halo` · `haloquant evaluate demo --text wikitext2_raw_test.txt.xz`"
    )(evaluate)
    app.command(epilog="Example: `haloquant compare demo demo-halo`")(compare)
    app.command(epilog="Example: `haloquant export demo-halo --from demo --to dequantized --out demo-plain`")(export)
    app.command(epilog="Examples: `haloquant verify demo-halo` · `haloquant verify demo-halo --profile default`")(
        verify
    )


def quantize(
    model: Model,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="Folder or URL (s3://...) of the packed model; empty or not there yet."),
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for finished layers when --out is a URL; a cache folder by default.")
    ] = None,
    profile: Profile = "default",
    goal: Annotated[
        Goal, typer.Option(help="perf-opt: fastest; acc-opt: most accurate; bal: the knee between them.")
    ] = "bal",
    calibration: Annotated[str, typer.Option(help="Calibration text (.txt, .xz), `demo`, or `none`.")] = "demo",
    samples: Annotated[int, typer.Option(help="Calibration windows.", min=1)] = 32,
    tile: Annotated[
        int, typer.Option(help="Rows and columns of a tile: the size of the array.", min=8, max=1 << 16)
    ] = 128,
    sparse_budget: Annotated[
        float, typer.Option(help="Largest share of weights kept in 8 bits.", min=0.0, max=0.5)
    ] = 0.005,
    prune_to_zero: Annotated[
        float, typer.Option(help="Share of the weights, those that matter least, that get word 0.", min=0.0, max=0.99)
    ] = 0.0,
    nearest: Annotated[bool, typer.Option("--nearest", help="Nearest rounding, no error compensation.")] = False,
    value_hessian: Annotated[
        ValueHessian,
        typer.Option(help="Errors of value projections count as attention reads them, or once a token (inputs)."),
    ] = "attention",
    calibration_dtype: Annotated[
        CalibrationDtype,
        typer.Option(help="Type of products in calibration: bfloat16 is faster on a GPU; sums of tokens are float32."),
    ] = "float32",
    transform: Annotated[
        Transform,
        typer.Option(help="Scale the layers' inputs before rounding; folded into the norms and layers that make them."),
    ] = "none",
    method: Annotated[
        Method, typer.Option(help="haloquant, or paper: the HALO paper's algorithm as it is described.")
    ] = "haloquant",
    clock_ghz: Annotated[
        list[float] | None,
        typer.Option(
            "--clock-ghz", help="Clock of the fast, then of the slow class; its words are those that meet it."
        ),
    ] = None,
    delay_basis: Annotated[
        Basis, typer.Option(help="static: safe for all activations; sensitised: as simulated, some may be slower.")
    ] = "static",
    energy_weight: Annotated[
        float, typer.Option(help="Weight of switching energy beside the error in choosing words.", min=0.0, max=100.0)
    ] = 0.0,
    cost: Annotated[
        str, typer.Option(help="What bal trades against the loss: time, energy, edp, simulated:TARGET, measured:FILE.")
    ] = "time",
    bits_budget: Annotated[
        float | None, typer.Option(help="bal: most stored bits per weight, in place of the knee.", min=0.0)
    ] = None,
    time_budget: Annotated[
        float | None, typer.Option(help="bal: most seconds of the layers in a decode step, by --cost.", min=0.0)
    ] = None,
    energy_budget: Annotated[
        float | None, typer.Option(help="bal: most joules of the layers in a decode step, by --cost.", min=0.0)
    ] = None,
    budget_level: Annotated[Level, typer.Option(help="Budgets choose a class per tile, or per layer.")] = "tile",
    input_sparsity: InputSparsity = 0.0,
    input_allocation: InputAllocation = "uniform",
    low_share: Annotated[
        float,
        typer.Option(
            help="Share of the tokens, those that matter least, whose inputs get --low-bits in place of 8 where inputs "
            "are rounded.",
            min=0.0,
            max=1.0,
        ),
    ] = 0.0,
    low_bits: Annotated[int, typer.Option(help="Bits of the inputs of these tokens.", min=2, max=7)] = 4,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Regular expression such as `experts`: matching layers stay in full precision; repeatable."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, ray, or ray=ADDRESS of a cluster.")] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes (local) or CPUs (ray); any number writes the same bytes.", min=1)
    ] = 1,
    device: Devices = "auto",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Predict memory, disk and time; write nothing. MODEL may be a shape or a config.json."
        ),
    ] = False,
    stages: Annotated[
        bool, typer.Option("--stages", help="Print the measured use of every stage, and the prediction of --dry-run.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Quantize a model to HALO's packed form, one layer at a time.

    If it is stopped, the same command continues after the finished layers.
    """
    from haloquant.cli.models.forecast_tables import show_forecast, stage_table  # numba is slow to load

    if dry_run:
        predicted = haloquant.forecast(
            model,
            goal=goal,
            calibration=calibration,
            samples=samples,
            calibration_dtype=calibration_dtype,
            transform=transform,
            exclude=exclude,
            device=device,
            input_sparsity=input_sparsity,
            input_allocation=input_allocation,
        )
        if json:
            found = msgspec.to_builtins(predicted.plan)
            stdout.print_json(data=found | {"gpu": predicted.gpu and msgspec.to_builtins(predicted.gpu)})
            return
        show_forecast(predicted, workers)
        return
    if out is None:
        raise InputError("--out must name the folder of the packed model; --dry-run needs none")
    budgets = {"bits_per_weight": bits_budget, "time_s": time_budget, "energy_j": energy_budget}
    limits = {name: value for name, value in budgets.items() if value is not None}
    made = haloquant.quantize(
        model,
        out,
        goal=goal,
        profile=profile,
        calibration=calibration,
        samples=samples,
        tile=tile,
        sparse_budget=sparse_budget,
        prune_to_zero=prune_to_zero,
        compensate=not nearest,
        value_hessian=value_hessian,
        calibration_dtype=calibration_dtype,
        transform=transform,
        method=method,
        clocks_ghz=tuple(clock_ghz or ()),
        delay_basis=delay_basis,
        energy_weight=energy_weight,
        cost=cost,
        budget={**limits, "level": budget_level},
        input_sparsity=input_sparsity,
        input_allocation=input_allocation,
        low_share=low_share,
        low_bits=low_bits,
        exclude=exclude,
        engine=engine,
        workers=workers,
        work=work,
        device=device,
        progress=not quiet,
    )
    expected = None
    if stages:
        ran = made.rounded_on if made.rounded_on != ("cpu",) else (made.calibrated_on,)
        expected = haloquant.forecast(
            model, goal=goal, calibration=calibration, samples=samples, calibration_dtype=calibration_dtype,
            transform=transform, exclude=exclude, device=",".join(ran), input_sparsity=input_sparsity,
            input_allocation=input_allocation,
        ).expected(made.calibrated_on, made.rounded_on)  # fmt: skip
    if json:
        found = made.to_dict()
        stdout.print_json(data=found if expected is None else found | {"predicted": [vars(x) for x in expected]})
        return
    if expected is not None:
        stdout.print(stage_table(made.stages, expected))
    again = f", {made.reused} of them finished by an earlier call" if made.reused else ""
    notes = "".join(f"{note}\n" for note in made.notes)
    stdout.print(
        f"{made.layers} layers{again}: {made.bits_per_weight:.3f} bits per weight stored, "
        f"sensitivity from {made.source}\n{notes}"
        f"{made.seconds:.0f} s, at most {engineering(made.peak_bytes, 'B')} in memory\n"
        f"packed model in {out}; load it with transformers after `import haloquant`",
        highlight=False,
    )


def export(
    model: Annotated[Path, typer.Argument(help="Packed HALO model folder.")],
    source: Annotated[str, typer.Option("--from", help="The model it was made of: folder or `demo`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Output folder; empty or not there yet.")],
    to: Annotated[
        Literal["dequantized", "compressed-tensors"],
        typer.Option(help="dequantized: plain weights; compressed-tensors: 8-bit weights that vLLM loads."),
    ] = "dequantized",
    dtype: Annotated[
        Literal["model", "float32", "bfloat16", "float16"],
        typer.Option(help="Type of dequantized weights; model: the type that the source has."),
    ] = "model",
    quiet: Quiet = False,
) -> None:
    """Write a packed model in a form that loads without haloquant."""
    done = haloquant.export(model, out, source=source, to=to, dtype=dtype, progress=not quiet)
    stdout.print(f"{engineering(done.total_bytes, 'B')} in {done.folder}", highlight=False)


def verify(
    model: Annotated[Path, typer.Argument(help="Packed HALO model folder.")],
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="MAC profile it must be made for: a name or a file.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every byte of a packed model: manifest, digest, every code, and the MAC it was made for if one is named."""
    found = haloquant.verify(model, profile=profile)
    if json:
        stdout.print_json(msgspec.json.encode(found).decode())
        return
    stdout.print(
        f"sound: {found.layers} layers, {found.weights:,} weights at {found.bits_per_weight:.3f} bits, "
        f"{found.tensors} tensors, {found.files} files, made for the MAC {found.profile}",
        highlight=False,
    )
    for note in found.notes:
        stdout.print(note, highlight=False, markup=False)
