"""What every question about a machine names, described once: the model, the machine, the MAC and the two passes."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from haloquant.cli.options import Profile
from haloquant.errors import InputError

What = Annotated[str, typer.Argument(help="Packed model folder, or a named shape such as llama2-7b or opt-6.7b.")]
Target = Annotated[
    str, typer.Option("--target", "-t", help="Machine: a shipped target (`haloquant targets`) or a file.")
]
Prefill = Annotated[int, typer.Option("--prefill", help="Tokens of the prefill.", min=1)]
Context = Annotated[int, typer.Option("--context", help="Context of the decode step.", min=1)]
Batch = Annotated[int, typer.Option("--batch", help="Sequences decoded together.", min=1)]
Fast = Annotated[float, typer.Option("--fast", help="Share of fast tiles, for a named shape.")]
Files = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Also write JSON, CSV and PNG there; an empty folder, or one haloquant made."),
]


@dataclass(frozen=True)
class Asked:
    """One question's model, machine, MAC and passes."""

    what: str
    target: str
    profile: str
    prefill: int
    context: int
    batch: int
    fast: float


_SHARED = {
    "what": (What, inspect.Parameter.empty),
    "target": (Target, "edge_lpddr5x"),
    "profile": (Profile, "default"),
    "prefill": (Prefill, 2048),
    "context": (Context, 2048),
    "batch": (Batch, 1),
    "fast": (Fast, 0.8),
}


def asks(
    *, without: Sequence[str] = (), **defaults: str | float
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, whose first parameter is an `Asked`, the options that fill it, before its own.

    Args:
        without: Shared options that the command has no use for; they keep their defaults.
        defaults: Other defaults than the shared ones.
    """

    def turn(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(name, default), annotation=kind
            )
            for name, (kind, default) in _SHARED.items()
            if name not in without
        ]
        kept = {name: _SHARED[name][1] for name in without}

        def run(**given: object) -> None:
            filled = kept | {parameter.name: given.pop(parameter.name) for parameter in shared}
            command(Asked(**filled), **given)  # pyright: ignore[reportArgumentType]

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature([*shared, *own])  # pyright: ignore[reportFunctionMemberAccess]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
        return run

    return turn


def open_model(asked: Asked):
    """The machine, and a packed folder or a named shape ready to run on it."""
    from haloquant.jobs.machines import systems
    from haloquant.store.profiles import find_profile
    from haloquant.store.targets import read_systolic

    machine, mac = read_systolic(asked.target), find_profile(asked.profile)
    if Path(asked.what).is_dir():
        return machine, systems.load_packed(Path(asked.what), mac)
    try:
        return machine, systems.load_shape(asked.what, mac, asked.fast)
    except InputError as error:
        if "model shape" not in str(error):
            raise
        raise InputError(f"{error} Or give the folder of a packed model.") from error


def passes(asked: Asked, loaded):
    """The prefill and the decode step that were asked for."""
    from haloquant.accel.workload.passes import decode, prefill

    return prefill(loaded.shape, asked.prefill), decode(loaded.shape, asked.context, asked.batch)


def left_notes(loaded, workload) -> list[str]:
    """A sentence on layers that a packed model leaves in floating point, if it does."""
    left = loaded.left_floating(workload)
    if not left:
        return []
    named = left[0] if len(left) == 1 else f"{left[0]} and {len(left) - 1} other layers"
    return [f"{named} in 16-bit floating point, as {loaded.name} leaves it: so in every system beside it"]
