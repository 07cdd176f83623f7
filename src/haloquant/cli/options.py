"""Options that several commands share."""

from collections.abc import Callable, Collection, Mapping
from inspect import signature
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.models import OptionInfo

from haloquant.errors import InputError

Out = Annotated[Path, typer.Option("--out", "-o", help="Output folder; empty, or one that haloquant made.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
DEVICE_HELP = "Where torch computes: auto (a GPU where there is one), cpu, cuda or cuda:NUMBER."
DEVICES_HELP = f"{DEVICE_HELP[:-1]}; several GPUs as cuda:all or cuda:0,cuda:1."
Device = Annotated[str, typer.Option(help=DEVICE_HELP)]
RecipeDevice = Annotated[str | None, typer.Option("--device", help=f"Instead of the recipe's. {DEVICES_HELP}")]
Devices = Annotated[str, typer.Option("--device", help=DEVICES_HELP)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Profile = Annotated[
    str, typer.Option("--profile", "-p", help="MAC: a shipped profile's name (see `haloquant profiles`) or a file.")
]
ModelDtype = Annotated[
    Literal["float32", "bfloat16", "float16"],
    typer.Option("--dtype", help="Floating-point type in which the model computes, whatever type its files have."),
]
HeadBits = Annotated[int, typer.Option(help="Bits of the weights of the head: 16 as they are stored, 8 rounded.")]
InputSparsity = Annotated[
    float,
    typer.Option(help="Share of the multiply-accumulates that a generated token does without.", min=0.0, max=0.95),
]
InputAllocation = Annotated[
    Literal["uniform", "divergence"],
    typer.Option(help="uniform: the same share in each layer; divergence: where predictions change least."),
]


def refuse_others(
    command: Callable[..., None], values: Mapping[str, object], heeded: Collection[str], why: str
) -> None:
    """Refuse options that a form of a command does not heed, if they differ from their defaults.

    Args:
        command: the function of the command.
        values: its arguments by their names.
        heeded: long names of the options that the form heeds.
        why: the end of the sentence, after the option's name.

    Raises:
        InputError: Another option is given.
    """
    for name, parameter in signature(command).parameters.items():
        found = [x for x in getattr(parameter.annotation, "__metadata__", ()) if isinstance(x, OptionInfo)]
        if not found or values[name] == parameter.default:
            continue
        # In an annotation the first name of an option stands in typer's field for the default.
        names = [x for x in (found[0].default, *(found[0].param_decls or ())) if str(x).startswith("--")]
        option = str(names[0]) if names else f"--{name.replace('_', '-')}"
        if option not in heeded:
            raise InputError(f"{option} must {why}")
