"""SmoothQuant and AWQ before HALO, in the whole job: the model stays itself, and so does the packed one."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from haloquant.errors import RecipeError
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.compare.method_steps import finish_methods, halo_method
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.jobs.quantize.transform import scale_layer
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.export.folding import folded_tensors, folds, with_others_of
from haloquant.lm.export.packed import export_packed
from haloquant.lm.swap_weights import with_weights
from haloquant.quant.format.packing import unpack
from haloquant.quant.layer import dequantize
from haloquant.recipe import Model, Quantize, Recipe, Text, Workload, parse_recipe
from haloquant.store.profiles import find_profile
from support.whole_model_transform import Transformed


@pytest.fixture(scope="module")
def recipe(tiny_folder: Path, small_text: Path) -> Recipe:
    text = Text(str(small_text), 256, str(small_text), 128)
    quantize = Quantize(goals=("bal",), rivals=(), sweep=(), compensate=False)
    return Recipe(model=Model(str(tiny_folder)), text=text, quantize=quantize, workload=Workload(16, 1, 16))


def bench(recipe: Recipe, out: Path, transform: str) -> JobSteps:
    asked = msgspec.structs.replace(recipe, quantize=msgspec.structs.replace(recipe.quantize, transform=transform))
    return JobSteps(asked, read_inputs(asked), find_profile(asked.hardware.profile), out, silent)


def made_bal(bench: JobSteps) -> MethodResult:
    step = halo_method(bench, "halo-bal", bench.allocator.goal_maps("bal"))
    return finish_methods(bench, {"halo-bal": step})["halo-bal"]


def transformed(bench: JobSteps) -> tuple[dict[str, np.ndarray], Transformed]:
    """The weights of the model, and what the job's scales make of them."""
    checkpoint, passes = bench.inputs.checkpoint, bench.passes
    weights = {layer.name: read_weight(checkpoint, layer) for layer in checkpoint.layers}
    scaled = {k: scale_layer(w, passes.scales.get(k), passes.rows.get(k)) for k, w in weights.items()}
    return weights, Transformed(scaled, {}, passes.scales, passes.rows)


@pytest.mark.parametrize("transform", ["smoothquant", "awq"])
def test_the_forward_stays_what_it_was(recipe: Recipe, tmp_path: Path, transform: str) -> None:
    import torch

    made = bench(recipe, tmp_path, transform)
    weights, seen = transformed(made)
    assert set(seen.scales) == set(weights)
    assert any(np.ptp(scale) > 0.01 for scale in seen.scales.values())
    for layer, weight in weights.items():
        np.testing.assert_allclose(seen.undo(layer, seen.weights[layer]), weight, rtol=1e-6)
        # x' = x / s and W' = W diag(s): the product is the same, but for the rows of what makes another's input.
        x = np.random.default_rng(0).normal(size=weight.shape[1]).astype(np.float32)
        product = seen.weights[layer] @ (x / seen.scales[layer]) * seen.rows.get(layer, np.float32(1))
        np.testing.assert_allclose(product, weight @ x, rtol=1e-3, atol=1e-4)
        assert np.array_equal(seen.scales[layer], np.exp2(np.round(np.log2(seen.scales[layer]))))
    tokens = torch.arange(20)[None]
    back = {layer: seen.undo(layer, weight) for layer, weight in seen.weights.items()}
    with torch.no_grad():
        plain = made.model(tokens).logits
        with with_weights(made.model, back), activations_per_token(made.model, list(back), 16, seen.scales):
            again = made.model(tokens).logits
    torch.testing.assert_close(again, plain, rtol=1e-2, atol=1e-2)  # 16 bits instead of none


def test_without_a_transform_nothing_is_scaled(recipe: Recipe, tmp_path: Path) -> None:
    made = bench(recipe, tmp_path, "none")
    assert [len(place.layers) for place in folds(made.inputs.checkpoint)] == [3, 1, 2, 1] * 2  # q k v, o, gate up, down
    assert (made.passes.places, made.passes.scales, made.passes.rows) == ((), {}, {})


@pytest.mark.parametrize("transform", ["smoothquant", "awq"])
def test_the_job_evaluates_it_and_says_where_it_is(recipe: Recipe, tmp_path: Path, transform: str) -> None:
    plain, other = bench(recipe, tmp_path, "none"), bench(recipe, tmp_path, transform)
    before = made_bal(plain)
    after = made_bal(other)
    assert plain.folders["halo-bal"] != other.folders["halo-bal"]  # the transform is part of what the step depends on
    assert before.notes == ()
    assert after.notes == (
        f"{transform}: inputs of 14 of 14 layers are divided by powers of two, folded into what makes them",
    )
    assert after.accuracy.perplexity != before.accuracy.perplexity
    # A random model knows nothing, so rounding hardly moves it: a scale left in would.
    assert after.accuracy.perplexity == pytest.approx(before.accuracy.perplexity, rel=0.1)
    assert after.accuracy.perplexity_a8 == pytest.approx(after.accuracy.perplexity, rel=0.05)


@pytest.mark.parametrize("transform", ["smoothquant", "awq"])
def test_the_packed_model_has_the_logits_of_the_one_that_was_evaluated(
    recipe: Recipe, tmp_path: Path, transform: str
) -> None:
    import torch

    from haloquant.lm.export.dequantized import export_dequantized
    from haloquant.lm.packed.loading import load
    from haloquant.lm.packed.reader import iterate_layers, open_packed
    from haloquant.lm.torch_model import load_model

    made = bench(recipe, tmp_path, transform)
    made_bal(made)
    _, seen = transformed(made)
    layers, checkpoint = list(made.passes.layers(made.allocator.goal_maps("bal"))), made.inputs.checkpoint
    changed = made.passes.folded()
    assert changed.keys() == folded_tensors(checkpoint, folds(checkpoint), seen.scales).keys()
    assert {name.rsplit(".", 2)[1] for name in changed} == {
        "input_layernorm", "post_attention_layernorm", "v_proj",
    }  # fmt: skip
    export_packed(checkpoint, layers, tmp_path / "packed", profile_name="p", profile_sha256="0" * 64, changed=changed)
    tokens = torch.arange(40)[None]
    unpacked = [unpack(q.tensors, q.layer, q.codebooks, q.tiles.grid.tile_out, q.tiles.grid.tile_in) for q in layers]
    rounded = {q.layer: seen.undo(q.layer, dequantize(q)) for q in unpacked}
    with torch.no_grad(), with_weights(made.model, rounded):
        evaluated = made.model(tokens).logits
        with activations_per_token(made.model, list(rounded), input_scale=seen.scales):
            evaluated_a8 = made.model(tokens).logits
    packed = load(tmp_path / "packed")
    with torch.no_grad():
        torch.testing.assert_close(packed(tokens).logits, evaluated, rtol=1e-5, atol=1e-5)
        with activations_per_token(packed, list(rounded)):
            torch.testing.assert_close(packed(tokens).logits, evaluated_a8, rtol=1e-4, atol=1e-4)
    # So has its dequantized export, which takes norms and biases from the packed model, not from the original.
    opened = open_packed(tmp_path / "packed")
    export_dequantized(
        with_others_of(checkpoint, opened.tensors), iterate_layers(opened), tmp_path / "plain", dtype="F32"
    )
    with torch.no_grad():
        torch.testing.assert_close(load_model(tmp_path / "plain")(tokens).logits, evaluated, rtol=1e-4, atol=1e-4)


def test_an_unknown_transform_is_refused_with_its_path() -> None:
    with pytest.raises(RecipeError, match=r"Invalid enum value 'smooth' - at `\$\.quantize\.transform`"):
        parse_recipe(b'[quantize]\ntransform = "smooth"\n', "r.toml")
