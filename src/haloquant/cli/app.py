"""The app with all its commands, and the exit code and the sentence for every error."""

import os
import sys
from functools import cache
from itertools import pairwise
from typing import Annotated

import typer
from rich.text import Text
from typer.main import get_command

from haloquant.cli import jobs, paper
from haloquant.cli.console import stderr
from haloquant.cli.machines import codesign, simulation, studies
from haloquant.cli.macs import circuits, libraries, profiles
from haloquant.cli.models import commands, early_exit, measurement, recovery, transfer
from haloquant.errors import HaloquantError, missing_extra
from haloquant.lm.checkpoint.hub import DOWNLOAD

INTERRUPTED = 130
NO_SPACE = 7
_built = cache(get_command)  # building all commands takes as long as running a small one
KEPT_NOTE = "Finished steps are kept, and the same command goes on from there."

app = typer.Typer(
    name="haloquant",
    help="Hardware-aware quantization of language models. Weight values are chosen for the delay and the energy of the "
    "MAC that multiplies them. The packed models run, and simulations show which machines gain from this.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Start with `haloquant run --out out`: everything on the shipped demo model, in about three minutes.",
)
for group in (
    jobs, commands, recovery, transfer, early_exit, circuits, libraries, profiles, simulation, studies, codesign,
    measurement, paper,
):  # fmt: skip
    group.register(app)


@app.callback()
def common(
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a model that is named owner/model from the Hugging Face hub.")
    ] = False,
) -> None:
    """Take the options of all commands."""
    if download:
        os.environ[DOWNLOAD] = "1"


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 2 wrong input, 3 infeasible, 4 tool, 5 missing extra, 6 busy, 7 disk, 130 Ctrl-C.
    """
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run one command and return its exit code. An error is printed to stderr as a sentence, without a traceback."""
    try:
        code = _built(app).main(args=arguments, prog_name="haloquant", standalone_mode=False)
    except HaloquantError as error:
        _print_error(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        _print_error(str(missing))
        return missing.exit_code
    except MemoryError:
        _print_error("there is not enough memory; `haloquant quantize --dry-run` predicts the memory. " + KEPT_NOTE)
        return NO_SPACE
    except BrokenPipeError:
        # The program that read our output has ended. Discard what is still buffered.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _print_error(f"the system refused to read or write: {error.strerror or error}{where}. " + KEPT_NOTE)
        return NO_SPACE
    except Exception as error:
        shown = getattr(error, "show", None)  # click's own errors print what is wrong and what is allowed
        if shown is None:
            raise
        _add_given(error, arguments)
        shown()
        return int(getattr(error, "exit_code", 2))
    if code == INTERRUPTED:  # typer returns this exit code after Ctrl-C and prints nothing
        stderr.print("stopped. " + KEPT_NOTE)
    return code if isinstance(code, int) else 0


def _add_given(error: Exception, arguments: list[str]) -> None:
    """Add to the message about an option's value what was given, which click leaves out."""
    options = getattr(getattr(error, "param", None), "opts", ())
    given = [after for option, after in pairwise(arguments) if option in options]
    given += [part.partition("=")[2] for part in arguments if part.partition("=")[0] in options and "=" in part]
    message = getattr(error, "message", None)
    if len(given) == 1 and isinstance(message, str) and repr(given[0]) not in message:
        setattr(error, "message", f"{message}, not {given[0]!r:.80}")  # noqa: B010


def _print_error(text: str) -> None:
    stderr.print(Text("error:", "red"), Text(text), highlight=False, soft_wrap=True)
