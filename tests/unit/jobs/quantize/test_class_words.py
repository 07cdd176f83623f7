"""Words of the classes by clocks and by loss, as a recipe asks for them."""

import numpy as np
import pytest

from haloquant.errors import RecipeError
from haloquant.jobs.quantize.class_words import choose_words
from haloquant.jobs.quantize.request import Request
from haloquant.quant.codebook import gaussian_sample
from haloquant.recipe import Hardware, Quantize, Recipe, parse_recipe
from haloquant.store.profiles import find_profile

SAMPLE = gaussian_sample(8)


def words(recipe: Recipe) -> list[tuple[float, list[int]]]:
    hardware = recipe.hardware
    profile = find_profile(hardware.profile, hardware.delay_basis)
    classes = choose_words(Request(profile, "bal", recipe, None, "nothing"), SAMPLE)
    return [(book.point.frequency_hz, book.values.tolist()) for book in classes.codebooks[:-1]]


def test_clocks_of_a_recipe_give_the_papers_words() -> None:
    recipe = Recipe(hardware=Hardware(profile="paper-22nm", clocks_ghz=(3.7, 2.33)))
    assert words(recipe) == [
        (3.7e9, list(range(-128, 128, 32))),
        (2.33e9, list(range(-128, 128, 16))),
    ]


def test_without_clocks_each_class_has_the_clock_of_its_loss() -> None:
    (fast, _), (slow, _) = words(Recipe())
    assert fast > slow > 1 / find_profile("default").delay_s[0].max()


def test_sensitised_delays_allow_faster_clocks_and_energy_other_words() -> None:
    plain = words(Recipe())
    quick = words(Recipe(hardware=Hardware(delay_basis="sensitised")))
    assert quick[0][0] >= plain[0][0] and quick[1][0] > plain[1][0]
    quiet = words(Recipe(quantize=Quantize(energy_weight=1.0)))
    energy = find_profile("default").energy_j[0]
    mean = lambda values: float(energy[np.isin(np.arange(-128, 128), values)].mean())  # noqa: E731
    assert mean(quiet[1][1]) < mean(plain[1][1])


@pytest.mark.parametrize("clocks", ["[3.7]", "[2.4, 3.7]"])
def test_one_clock_or_rising_clocks_are_refused_in_a_recipe(clocks: str) -> None:
    with pytest.raises(RecipeError, match="clocks_ghz must be the clock of the fast class, then a lower one"):
        parse_recipe(f"[hardware]\nclocks_ghz = {clocks}".encode(), "recipe.toml")
