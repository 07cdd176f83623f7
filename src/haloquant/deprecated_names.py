"""Look up attributes of renamed modules by the old module name, with a DeprecationWarning."""

import warnings
from importlib import import_module
from typing import Any


def attribute_of(old: str, new: str, name: str) -> Any:
    """Return the attribute `name` of the module `new`, and warn that the module `old` is deprecated.

    `__all__` is the list of the public names of `new`, so `from OLD import *` works and warns as well.

    Raises:
        AttributeError: The module `new` has no such attribute.
    """
    if name == "__all__":
        return names_of(new)
    if name.startswith("__"):
        raise AttributeError(f"module {old!r} has no attribute {name!r}")
    found = getattr(import_module(new), name)
    warnings.warn(
        f"{old}.{name} is now {new}.{name}; the old name goes in version 0.3", DeprecationWarning, stacklevel=3
    )
    return found


def names_of(new: str) -> list[str]:
    """Return the public names of the module `new`: its `__all__`, or every name without an underscore in front."""
    module = import_module(new)
    given: list[str] | None = getattr(module, "__all__", None)
    return list(given) if given is not None else [name for name in dir(module) if not name.startswith("_")]
