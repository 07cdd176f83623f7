"""The exception tree. A user's mistake raises one of these: what was wanted, what was given, what would do.

HaloquantError
├─ InputError          a file or value from outside is not what it must be
│  ├─ LibertyError     a cell library
│  ├─ NetlistError     a gate-level netlist, or RTL that does not compute w*a + p
│  ├─ ProfileError     a MAC profile
│  ├─ TargetError      an accelerator description
│  ├─ RecipeError      a recipe for `haloquant run`
│  ├─ CheckpointError  a model folder, shard, tensor or tokenizer
│  └─ FormatError      a packed HALO checkpoint
├─ InfeasibleError     the inputs are sound, but nothing satisfies them together
├─ ToolError           an external program is missing, failed or ran out of time
├─ MissingExtraError   an optional Python dependency is not installed
└─ BusyError           another run holds the output folder
"""

from typing import Final

import msgspec

# What a parser of JSON or TOML raises on damaged text: beside its own errors, ValueError (text that is not UTF-8,
# integers of more than 4300 digits) and RecursionError (thousands of brackets).
MALFORMED: Final = (msgspec.MsgspecError, ValueError, RecursionError)


class HaloquantError(Exception):
    """Base of every error that a person may see; its text is a sentence and an interface (tests pin it)."""

    exit_code = 1


class InputError(HaloquantError):
    """A file or value from outside is not what it must be."""

    exit_code = 2


class LibertyError(InputError):
    """A cell library is malformed, truncated or lacks a cell or table."""


class NetlistError(InputError):
    """A netlist is malformed, or does not compute what was declared."""


class ProfileError(InputError):
    """A MAC profile is malformed or does not hold what was asked of it."""


class TargetError(InputError):
    """An accelerator description is malformed or inconsistent."""


class RecipeError(InputError):
    """A recipe is malformed."""


class CheckpointError(InputError):
    """A model folder is incomplete, damaged or of an unknown kind."""


class FormatError(InputError):
    """A packed HALO checkpoint is damaged, or of another version."""


class InfeasibleError(HaloquantError):
    """The inputs are sound, but nothing satisfies them together."""

    exit_code = 3


class ToolError(HaloquantError):
    """An external program is missing, failed or ran out of time."""

    exit_code = 4


class MissingExtraError(HaloquantError):
    """An optional dependency is not installed; the text names the extra that brings it."""

    exit_code = 5


class BusyError(HaloquantError):
    """Another run holds the output folder."""

    exit_code = 6
