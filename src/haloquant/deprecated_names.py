"""Look up attributes of renamed modules by the old module name, with a DeprecationWarning."""

import warnings
from importlib import import_module
from typing import Any


def attribute_of(old: str, new: str, name: str) -> Any:
    """Return the attribute `name` of the module `new`, and warn that the module `old` is deprecated.

    Raises:
        AttributeError: the module `new` has no such attribute.
    """
    if name.startswith("__"):
        raise AttributeError(f"module {old!r} has no attribute {name!r}")
    found = getattr(import_module(new), name)
    warnings.warn(
        f"{old}.{name} is now {new}.{name}; the old name goes in version 0.3", DeprecationWarning, stacklevel=3
    )
    return found
