"""The exceptions of the package. Their text gives the expected and the given value, and often a remedy.

HaloquantError
├─ InputError          an input file or value is not valid
│  ├─ LibertyError     a cell library
│  ├─ NetlistError     a gate-level netlist, or RTL that does not compute w*a + p
│  ├─ ProfileError     a MAC profile
│  ├─ TargetError      an accelerator description
│  ├─ RecipeError      a recipe for `haloquant run`
│  ├─ CheckpointError  a model folder, shard, tensor or tokenizer
│  └─ FormatError      a packed HALO checkpoint
├─ InfeasibleError     each input is valid, but no solution satisfies all of them
├─ ToolError           an external program is missing, failed or ran out of time
├─ MissingExtraError   an optional Python dependency is not installed
└─ BusyError           another run uses the output folder
"""

from collections.abc import Mapping
from typing import Final

import msgspec

# Errors that parsing damaged JSON or TOML can raise: the parser's own errors, ValueError (text that is not UTF-8,
# integers with more than 4300 digits) and RecursionError (thousands of nested brackets).
MALFORMED: Final = (msgspec.MsgspecError, ValueError, RecursionError)


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, and the next if a colon ends the first; at most 300 characters.

    It is the name of the error's class where there is no text, and a sentence where the text is a bare key.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, KeyError):
        lines[0] = f"it looks up {lines[0]} and finds nothing"
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])[:300]


class HaloquantError(Exception):
    """Base of all errors for users. The text is a sentence; tests check it. `exit_code` is that of the command line."""

    exit_code = 1


class InputError(HaloquantError):
    """An input file or value is not valid."""

    exit_code = 2


class LibertyError(InputError):
    """A cell library is malformed, truncated or lacks a cell or table."""


class NetlistError(InputError):
    """A netlist is malformed, or its logic is not that of the declared MAC."""


class ProfileError(InputError):
    """A MAC profile is malformed, or lacks a required value."""


class TargetError(InputError):
    """An accelerator description is malformed or inconsistent."""


class RecipeError(InputError):
    """A recipe is malformed."""


class CheckpointError(InputError):
    """A model folder is incomplete, damaged or of an unknown kind."""


class FormatError(InputError):
    """A packed HALO checkpoint is damaged, or of another version."""


class InfeasibleError(HaloquantError):
    """Each input is valid, but no solution satisfies all of them."""

    exit_code = 3


class ToolError(HaloquantError):
    """An external program is missing, failed or ran out of time."""

    exit_code = 4


class MissingExtraError(HaloquantError):
    """An optional dependency is not installed. The text names the extra that installs it."""

    exit_code = 5


# The extra that installs a package, by the name under which the package is imported.
EXTRAS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("torch", "transformers", "tokenizers", "accelerate"), "lm"),
    **dict.fromkeys(("altair", "vl_convert", "jinja2"), "report"),
    **dict.fromkeys(("fsspec", "s3fs"), "remote"),
    **dict.fromkeys(("triton", "pynvml"), "gpu"),
    "lm_eval": "eval",
    "pyosys": "eda",
    "ray": "ray",
    "gguf": "gguf",
}


def missing_extra(error: ModuleNotFoundError) -> MissingExtraError | None:
    """Return the error that names the extra of a package that is not installed; None for any other package."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        return None
    extra = EXTRAS[package]
    more = "; haloquant[demo] installs all that `haloquant run` needs" if extra in ("lm", "report") else ""
    return MissingExtraError(f"this needs {package}, which is not installed: pip install 'haloquant[{extra}]'{more}")


class BusyError(HaloquantError):
    """Another run uses the output folder."""

    exit_code = 6
