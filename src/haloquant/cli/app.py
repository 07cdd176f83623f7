"""The commands by name, and how every ending becomes an exit code and a sentence."""

import os
import sys

import typer
from typer.main import get_command

from haloquant.cli import circuits, jobs, machines, models, profiles, sweeps
from haloquant.cli.console import stderr
from haloquant.errors import HaloquantError

INTERRUPTED = 130
NO_ROOM = 7
KEPT = "Finished steps are kept, and the same command goes on from there."

app = typer.Typer(
    name="haloquant",
    help="Hardware-aware quantization of language models: weight values chosen for the delay and energy of the MAC "
    "that multiplies them, packed models that run, and the truth about where it pays.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Start with `haloquant run --out out`: the whole job on the shipped demo model, in about three minutes.",
)
for room in (jobs, models, circuits, profiles, machines, sweeps):
    room.register(app)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 wrong input, 3 infeasible, 4 tool, 6 busy, 7 disk, 130 Ctrl-C."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors are said on stderr as a sentence, never as a traceback."""
    command = get_command(app)
    try:
        code = command.main(args=arguments, prog_name="haloquant", standalone_mode=False)
    except HaloquantError as error:
        _say(str(error))
        return error.exit_code
    except MemoryError:
        _say("there is not enough memory; `haloquant quantize --dry-run` predicts what a model takes. " + KEPT)
        return NO_ROOM
    except BrokenPipeError:
        # The reader of our output left; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _say(f"the system refused to read or write: {error.strerror or error}{where}. " + KEPT)
        return NO_ROOM
    except Exception as error:
        shown = getattr(error, "show", None)  # click's own errors know how to say what would be right
        if shown is None:
            raise
        shown()
        return int(getattr(error, "exit_code", 2))
    if code == INTERRUPTED:  # typer turns Ctrl-C into this exit code without a word
        stderr.print("stopped. " + KEPT)
    return code if isinstance(code, int) else 0


def _say(text: str) -> None:
    plain = text.replace("[", "\\[")
    stderr.print(f"[red]error:[/red] {plain}", highlight=False, soft_wrap=True)
