"""What arguments change in a recipe, and what is refused before any work."""

from pathlib import Path

import pytest

import haloquant
from haloquant.api.recipe_jobs import changed
from haloquant.errors import InputError, RecipeError
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
