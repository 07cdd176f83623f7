"""Recipes: numbers that are out of range are refused."""

import pytest

from haloquant.errors import RecipeError
from haloquant.recipe import parse_recipe


@pytest.mark.parametrize(
    "text",
    [
        "seed = 99999999999999999999",
        "[hardware]\ntile = 9223372036854775807",
        "[hardware]\nmargin = nan",
        "[quantize]\nfast_loss_db = inf",
        "[quantize]\nsweep = [nan]",
        "[quantize]\nsweep = [-1e400]",
        "[workload]\ndecode_batch = 4611686018427387904",
    ],
)
def test_a_recipe_holds_no_number_beyond_use(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^r must be a haloquant recipe in TOML: Expected "):
        parse_recipe(text.encode(), "r")
