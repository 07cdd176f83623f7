"""SmoothQuant and AWQ before HALO, in the whole job: the model stays itself, and nothing is packed."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from haloquant.config import Model, Quantize, Recipe, Text, Workload, parse_recipe
from haloquant.errors import InputError, RecipeError
from haloquant.lm.linear import activations_per_token
from haloquant.lm.replace import with_weights
from haloquant.pipeline.inputs import read_inputs, silent
from haloquant.pipeline.transformed import refuse, sharing
from haloquant.pipeline.workbench import Workbench
from haloquant.store.profiles import find_profile


@pytest.fixture(scope="module")
def recipe(tiny_folder: Path, small_text: Path) -> Recipe:
    text = Text(str(small_text), 256, str(small_text), 128)
    quantize = Quantize(goals=("bal",), rivals=(), sweep=(), compensate=False)
    return Recipe(model=Model(str(tiny_folder)), text=text, quantize=quantize, workload=Workload(16, 1, 16))


def bench(recipe: Recipe, out: Path, transform: str) -> Workbench:
    asked = msgspec.structs.replace(recipe, quantize=msgspec.structs.replace(recipe.quantize, transform=transform))
    return Workbench(asked, read_inputs(asked), find_profile(asked.hardware.profile), out, silent)


@pytest.mark.parametrize("transform", ["smoothquant", "awq"])
def test_the_forward_stays_what_it_was(recipe: Recipe, tmp_path: Path, transform: str) -> None:
    import torch

    made = bench(recipe, tmp_path, transform)
    seen = made.transformed
    assert set(seen.scales) == set(made.weights)
    assert any(np.ptp(scale) > 0.01 for scale in seen.scales.values())
    for layer, weight in made.weights.items():
        np.testing.assert_allclose(seen.undo(layer, seen.weights[layer]), weight, rtol=1e-6)
        # x' = x / s and W' = W diag(s): the product is the same.
        x = np.random.default_rng(0).normal(size=weight.shape[1]).astype(np.float32)
        np.testing.assert_allclose(seen.weights[layer] @ (x / seen.scales[layer]), weight @ x, rtol=1e-3, atol=1e-4)
    tokens = torch.arange(20)[None]
    back = {layer: seen.undo(layer, weight) for layer, weight in seen.weights.items()}
    with torch.no_grad():
        plain = made.model(tokens).logits
        with with_weights(made.model, back), activations_per_token(made.model, list(back), 16, seen.scales):
            again = made.model(tokens).logits
    torch.testing.assert_close(again, plain, rtol=1e-2, atol=1e-2)  # 16 bits instead of none


def test_the_statistics_of_one_input_are_one_and_keep_their_source(recipe: Recipe, tmp_path: Path) -> None:
    made = bench(recipe, tmp_path, "none")
    groups = sharing(made.statistics)
    assert [len(group) for group in groups] == [3, 1, 2, 1] * 2  # q k v, o, gate up, down
    sources = {known.source for known in made.statistics.values()}
    assert all(source for source in sources)
    assert {known.tokens for known in made.statistics.values()} == {256}
    assert made.transformed.weights is made.weights


@pytest.mark.parametrize("transform", ["smoothquant", "awq"])
def test_the_job_evaluates_it_and_says_that_it_is_not_packed(recipe: Recipe, tmp_path: Path, transform: str) -> None:
    plain, other = bench(recipe, tmp_path, "none"), bench(recipe, tmp_path, transform)
    before = plain.halo("halo-bal", plain.allocator.stop("bal"))
    after = other.halo("halo-bal", other.allocator.stop("bal"))
    assert plain.folders["halo-bal"] != other.folders["halo-bal"]  # the transform is part of what the step depends on
    assert plain.folders["calibrate"] == other.folders["calibrate"]
    assert before.notes == ()
    assert after.notes == (
        f"{transform}: the inputs are divided by a scale as the model runs; not folded into the layers before, "
        "so not packed",
    )
    assert after.accuracy.perplexity != before.accuracy.perplexity
    # A random model knows nothing, so rounding hardly moves it: a scale left in would.
    assert after.accuracy.perplexity == pytest.approx(before.accuracy.perplexity, rel=0.1)
    assert after.accuracy.perplexity_a8 == pytest.approx(after.accuracy.perplexity, rel=0.05)


def test_packing_behind_a_transform_is_refused() -> None:
    refuse("none")
    with pytest.raises(
        InputError,
        match=r'^a packed model must have quantize\.transform = "none", not "awq": the packed form has no place for '
        r"the scales of the inputs; `haloquant run` evaluates and simulates it without packing$",
    ):
        refuse("awq")


def test_an_unknown_transform_is_refused_with_its_path() -> None:
    with pytest.raises(RecipeError, match=r"Invalid enum value 'smooth' - at `\$\.quantize\.transform`"):
        parse_recipe(b'[quantize]\ntransform = "smooth"\n', "r.toml")
