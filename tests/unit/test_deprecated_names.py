"""Old public names still work, and say their new name."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("haloquant.config", "Recipe", "haloquant.recipe"),
        ("haloquant.lm.replace", "find_module", "haloquant.lm.swap_weights"),
        ("haloquant.types", "MacProfile", "haloquant.records"),
        ("haloquant.pipeline", "run", "haloquant.jobs.compare.job"),
        ("haloquant.pipeline.job", "Job", "haloquant.jobs.compare.job"),
    ],
)
def test_an_old_name_gives_the_same_object_and_warns(old: str, name: str, new: str) -> None:
    module = importlib.import_module(old)
    with pytest.warns(DeprecationWarning, match=f"{old}.{name} is now {new}.{name}"):
        assert getattr(module, name) is getattr(importlib.import_module(new), name)


@pytest.mark.parametrize(
    ("old", "name"),
    [
        ("haloquant.config", "Recipe"),
        ("haloquant.lm.replace", "find_module"),
        ("haloquant.types", "MacProfile"),
        ("haloquant.pipeline", "run"),
        ("haloquant.pipeline.job", "Job"),
    ],
)
def test_a_star_import_of_an_old_name_gives_the_same_objects_and_warns(old: str, name: str) -> None:
    found: dict[str, object] = {}
    with pytest.warns(DeprecationWarning) as warned:
        exec(f"from {old} import *", found)  # the star form exists only as a statement
    assert any(str(each.message).startswith(f"{old}.{name} is now ") for each in warned)
    assert name in dir(importlib.import_module(old))
    with pytest.warns(DeprecationWarning):
        assert found[name] is getattr(importlib.import_module(old), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        importlib.import_module("haloquant.config").nothing_of_that_name  # noqa: B018
