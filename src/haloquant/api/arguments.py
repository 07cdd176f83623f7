"""Checks of arguments. Each error gives the name of the argument, the allowed values and the given value."""

from collections.abc import Sequence
from math import isfinite
from os import fsencode
from pathlib import Path

from haloquant.errors import InputError
from haloquant.recipe import MOST

MOST_NAME = 255  # bytes in a name of a file; the limit of common file systems


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Refuse a value that is not one of the allowed words.

    Raises:
        InputError: It is not.
    """
    if value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, not {value!r:.80}")


def check_count(name: str, value: object, least: int, most: int = MOST) -> None:
    """Refuse a value that is not a whole number from `least` to `most`.

    The default of `most` is what every array can be indexed by. The sentence names it only to who exceeds it.

    Raises:
        InputError: It is not.
    """
    named = most != MOST
    if isinstance(value, int) and not isinstance(value, bool):
        if least <= value <= most:
            return
        named = named or value > most
    wanted = f"from {least} to {most}" if named else f"of at least {least}"
    raise InputError(f"{name} must be a whole number {wanted}, not {value!r:.80}")


def check_range(name: str, value: object, least: float, most: float) -> None:
    """Refuse a value that is not a finite number from `least` to `most`.

    Raises:
        InputError: It is not.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most and isfinite(value):
        return
    raise InputError(f"{name} must be {least:g} to {most:g}, not {value!r:.80}")


def check_bits(value: int, name: str = "activation_bits") -> int:
    """Return a number of bits of activations; `name` names it in errors.

    Raises:
        InputError: It is not a whole number from 2 to 16.
    """
    check_count(name, value, 2, 16)
    return value


def path_text(name: str, value: object) -> str:
    """Return a path, a URL or a name as text. `~` at the beginning of a path becomes the home folder.

    Raises:
        InputError: It is neither str nor Path, it is empty, or no file can have it as its path.
    """
    if not isinstance(value, str | Path) or not str(value):
        raise InputError(f"{name} must be a name or path as str or Path, not {value!r:.80}")
    try:
        parts = fsencode(value).split(b"/")
    except UnicodeEncodeError as error:
        raise InputError(f"{name} must be a name or path without single surrogates, not {value!r:.80}") from error
    if any(b"\0" in part for part in parts):
        raise InputError(f"{name} must be a name or path without the character of number 0, not {value!r:.80}")
    if "://" not in str(value) and any(len(part) > MOST_NAME for part in parts):
        raise InputError(f"{name} must be a path whose names have at most {MOST_NAME} bytes, not {str(value)!r:.40}...")
    return str(Path(value).expanduser()) if str(value).startswith("~") else str(value)


def path_texts(name: str, values: object) -> tuple[str, ...]:
    """Return one path or a sequence of paths as texts.

    Raises:
        InputError: One of them is neither str nor Path, or there is none.
    """
    if isinstance(values, str | Path):
        values = (values,)
    if not isinstance(values, Sequence) or not values:
        raise InputError(f"{name} must be a path or a sequence of at least one path, not {values!r:.80}")
    return tuple(path_text(name, value) for value in values)


def texts(name: str, values: object) -> tuple[str, ...]:
    """Return one text or a sequence of texts as a tuple; None is no text.

    Raises:
        InputError: One of them is not a str.
    """
    if values is None:
        return ()
    if isinstance(values, str):
        return (values,)
    if not isinstance(values, Sequence) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name} must be a sequence of str, not {values!r:.80}")
    return tuple(values)
