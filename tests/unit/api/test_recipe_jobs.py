"""What arguments change in a recipe, and what is refused before any work."""

from pathlib import Path

import pytest

import haloquant
from haloquant.api.recipe_jobs import changed
from haloquant.errors import InputError, RecipeError
from haloquant.jobs import exploration
from haloquant.recipe import Recipe


def test_arguments_take_the_place_of_the_recipes_own() -> None:
    assert changed(None) == Recipe()
    made = changed(Recipe(seed=3), "model", Path("my.profile.json"), "text.txt", True)
    assert (made.seed, made.model.path, made.hardware.profile) == (3, "model", "my.profile.json")
    assert (made.text.evaluation, made.text.evaluation_tokens) == ("text.txt", 0)
    assert made.text.calibration == Recipe().text.calibration


def test_a_recipe_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("seed = 5\n")
    assert changed(file).seed == changed(str(file)).seed == 5
    with pytest.raises(RecipeError, match=r"nope\.toml must be a file"):
        haloquant.run("nope.toml", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tile_size_is_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a tile size must be a whole number from 1 to 65536, not 0"):
        haloquant.explore(out=tmp_path / "out", tiles=[64, 0])
    with pytest.raises(InputError, match="tiles must be a sequence of at least one tile size"):
        haloquant.explore(out=tmp_path / "out", tiles=[])


def test_what_is_explored_is_the_recipes_own_unless_arguments_say_otherwise(monkeypatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(exploration, "explore", lambda _recipe, names, sizes, *_: asked.append((names, sizes)) or [])
    monkeypatch.setattr("haloquant.report.charts.exploration.draw_exploration", lambda *_: None)
    file = tmp_path / "recipe.toml"
    file.write_text('[hardware]\nprofile = "paper-22nm"\ntile = 64\n')
    for recipe, arguments in ((None, {}), (file, {}), (file, {"profiles": ["default"], "tiles": [32, 16]})):
        haloquant.explore(recipe, tmp_path / "out", progress=False, **arguments)
    assert [(tuple(names), tuple(sizes)) for names, sizes in asked] == [
        (("default",), (128, 64, 32)),
        (("paper-22nm",), (64,)),
        (("default",), (32, 16)),
    ]
