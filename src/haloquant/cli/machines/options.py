"""The options that all commands about machines share: the model, the machine, the MAC and the two phases."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from haloquant.cli.console import stderr
from haloquant.cli.options import Profile, Quiet

Model = Annotated[
    str,
    typer.Argument(
        help="Packed model folder; or, with tiles drawn at random, a named shape (llama3.1-8b, deepseek-v3), a model "
        "folder, a config.json, a GGUF file or a name in the hub's cache."
    ),
]
Target = Annotated[
    str, typer.Option("--target", "-t", help="Machine: a shipped target (`haloquant targets`) or a file.")
]
Prefill = Annotated[int, typer.Option("--prefill", help="Tokens of the prefill.", min=1)]
Context = Annotated[int, typer.Option("--context", help="Tokens in the cache at the decode step.", min=1)]
Batch = Annotated[int, typer.Option("--batch", help="Sequences decoded together.", min=1)]
Fast = Annotated[
    float, typer.Option("--fast", help="Share of tiles in the fast class, for a model that is not packed.")
]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Also write JSON, CSV and PNG there; an empty folder, or one haloquant made."),
]


@dataclass(frozen=True)
class MachineOptions:
    """The values of the shared options of one command."""

    model: str
    target: str
    profile: str
    prefill: int
    context: int
    batch: int
    fast: float
    quiet: bool

    def keywords(self) -> dict[str, Any]:
        """Return the options as keyword arguments of `haloquant.simulate` and similar functions."""
        return {
            "profile": self.profile,
            "prefill_tokens": self.prefill,
            "context_tokens": self.context,
            "batch": self.batch,
            "fast_share": self.fast,
            "progress": not self.quiet,
        }


_SHARED = {
    "model": (Model, inspect.Parameter.empty),
    "target": (Target, "edge_lpddr5x"),
    "profile": (Profile, "default"),
    "prefill": (Prefill, 2048),
    "context": (Context, 2048),
    "batch": (Batch, 1),
    "fast": (Fast, 0.8),
    "quiet": (Quiet, False),
}


def with_machine_options(
    *, without: Sequence[str] = (), **defaults: str | float
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared options before its own; it receives them as its first argument, a `MachineOptions`.

    Args:
        without: Shared options that the command does not use; they are not shown and keep their defaults.
        defaults: Defaults of this command that differ from the shared ones.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[1:]
        shared = [
            inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(name, default), annotation=kind
            )
            for name, (kind, default) in _SHARED.items()
            if name not in without
        ]
        hidden = {name: _SHARED[name][1] for name in without}

        def run(**given: object) -> None:
            values: dict[str, Any] = hidden | {parameter.name: given.pop(parameter.name) for parameter in shared}
            command(MachineOptions(**values), **given)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        setattr(run, "__signature__", inspect.Signature([*shared, *own]))  # noqa: B010
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*shared, *own)}
        return run

    return decorate


def prepare_output(out: Path | None) -> None:
    """Claim the folder of `--out`, and import what draws its pictures, before any work; nothing without `--out`."""
    if out is None:
        return
    from haloquant.api.machines import result_files  # noqa: F401
    from haloquant.store.atomic_files import claim_output

    claim_output(out)


def write_output(found: Any, out: Path | None) -> None:
    """Write the files of `--out`, and print their names to stderr, so that stdout holds nothing but results."""
    if out is None:
        return
    from haloquant.api.machines.result_files import save_results

    names = ", ".join(file.name for file in save_results(found, out))
    stderr.print(f"{names} in {out}", style="dim", highlight=False, soft_wrap=True)
