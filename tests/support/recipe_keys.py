"""Every key of a recipe by its name in TOML, and recipes with one value changed."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any

import msgspec

from haloquant.recipe import Recipe, Section


def recipe_keys(kind: type[Section] = Recipe, prefix: str = "") -> Iterator[str]:
    """Yield the names of all keys, such as `quantize.refine`."""
    for field in msgspec.structs.fields(kind):
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from recipe_keys(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def value_of(recipe: Recipe, key: str) -> Any:
    """Return the value of a key."""
    return attrgetter(key)(recipe)


def with_value(recipe: Recipe, key: str, value: object) -> Recipe:
    """Return the recipe with another value of one key."""
    section, _, name = key.rpartition(".")
    changed = msgspec.structs.replace(attrgetter(section)(recipe) if section else recipe, **{name: value})
    return with_value(recipe, section, changed) if section else changed
