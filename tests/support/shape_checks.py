"""Checks types and array shapes of haloquant at run time, at a fraction of the cost of jaxtyping's own import hook.

jaxtyping's import hook decorates every function with `jaxtyping.jaxtyped`. At each call that decorator binds the
arguments to the signature and checks them twice, which tripled the time of a whole job. `install` replaces it: plain
beartype checks each call, and a function with arrays in its annotations also gets the table in which jaxtyping compares
the sizes of named dimensions. The checks are the same.

A function with arrays is checked at its first `ALWAYS` calls and at one of `SELDOM` calls after them. The checks of
every call would take a third of the time of the tests. A function inside a function is a new one at each call of the
outer function, and its decoration takes a millisecond. So only its first `ALWAYS_INSIDE` definitions and one of
`SELDOM` after them are decorated. Set HALOQUANT_TEST_DRAWS=nightly to check every call.
"""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any, get_args

import jaxtyping
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import AbstractArray, install_import_hook
from jaxtyping._storage import pop_shape_memo, push_shape_memo, shape_str

Checker = Callable[[Any], Any]
_jaxtyped = jaxtyping.jaxtyped
ALWAYS, ALWAYS_INSIDE = 20, 5
SELDOM = 1 if os.environ.get("HALOQUANT_TEST_DRAWS") == "nightly" else 50
_definitions: dict[int, int] = {}  # how often a function inside a function was defined, by the id of its code


def install(package: str) -> None:
    """Check the functions of a package that is not imported yet."""
    jaxtyping.jaxtyped = _lean_jaxtyped
    install_import_hook(package, "beartype.beartype")


def _lean_jaxtyped(fn: Any = None, *, typechecker: Checker) -> Any:
    """Decorate a function or a class as `jaxtyping.jaxtyped` does."""
    if fn is None:
        return functools.partial(_lean_jaxtyped, typechecker=typechecker)
    if inspect.isclass(fn):
        if dataclasses.is_dataclass(fn) and "__init__" in vars(fn):
            fn.__init__ = _checked(fn.__init__, typechecker)
        return fn
    return _checked(fn, typechecker)


def _checked(fn: Any, typechecker: Checker) -> Any:
    if not inspect.isfunction(fn) or getattr(fn, "__no_type_check__", False):
        return _jaxtyped(fn, typechecker=typechecker)
    if "<locals>" in fn.__qualname__:
        times = _definitions[id(fn.__code__)] = _definitions.get(id(fn.__code__), 0) + 1
        if times > ALWAYS_INSIDE and times % SELDOM:
            return fn
    hints = list(fn.__annotations__.values())
    if any(isinstance(hint, str) for hint in hints):  # a name that is not defined yet
        return _jaxtyped(fn, typechecker=typechecker)
    arrays = [array for hint in hints for array in _arrays(hint)]
    if not arrays:
        return typechecker(fn)
    # A generator yields after its call, and a size in braces is computed from the arguments.
    if inspect.isgeneratorfunction(fn) or any("{" in array.dim_str for array in arrays):
        return _jaxtyped(fn, typechecker=typechecker)
    return _with_shapes(fn, typechecker(fn))


def _with_shapes(fn: Any, checked: Any) -> Any:
    """Compare the sizes of named dimensions between the parameters and the result of a call."""
    calls = 0

    @functools.wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > ALWAYS and calls % SELDOM:
            return fn(*args, **kwargs)
        sizes = push_shape_memo({})
        try:
            return checked(*args, **kwargs)
        except BeartypeCallHintViolation as error:
            if not getattr(error, "__notes__", ()):
                error.add_note(shape_str(sizes))
            raise
        finally:
            pop_shape_memo()

    return call


def _arrays(hint: Any) -> list[type[AbstractArray]]:
    """Return the array types of jaxtyping in a hint, also those inside `tuple[Float[...], ...]` or a union."""
    if isinstance(hint, list):  # the parameters of a Callable
        return [array for part in hint for array in _arrays(part)]
    if inspect.isclass(hint) and not get_args(hint):
        return [hint] if issubclass(hint, AbstractArray) else []
    return [array for part in get_args(hint) for array in _arrays(part)]
