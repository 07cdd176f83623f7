"""Attributes of modules that have a new name: the old name still works, with a DeprecationWarning."""

import warnings
from importlib import import_module
from typing import Any


def attribute_of(old: str, new: str, name: str) -> Any:
    """Return `name` of the module `new`, and warn that `old` was asked for.

    Raises:
        AttributeError: the new module has no such name.
    """
    if name.startswith("__"):
        raise AttributeError(f"module {old!r} has no attribute {name!r}")
    found = getattr(import_module(new), name)
    warnings.warn(
        f"{old}.{name} is now {new}.{name}; the old name goes in version 0.3", DeprecationWarning, stacklevel=3
    )
    return found
