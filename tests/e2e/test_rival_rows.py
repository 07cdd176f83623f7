"""SmoothQuant and ZeroQuant-Global as rows of a job, and rivals written as ordinary models."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from transformers import AutoModelForCausalLM

from haloquant.errors import InputError, RecipeError
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import finish_methods, full_precision, rival_method
from haloquant.jobs.compare.rival_export import check_exports, export_rival
from haloquant.jobs.compare.rival_layers import RivalLayers
from haloquant.jobs.compare.rival_tasks import load_rival_layer, load_rival_weight
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.jobs.recipe_checks import check_rivals
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.lm.evaluation.rounded_activations import activations_per_token
from haloquant.lm.swap_weights import with_weights
from haloquant.recipe import Model, Quantize, Recipe, Text, Workload
from haloquant.store.profiles import find_profile

SMOOTH, GLOBAL, SPARSE = "smoothquant-w4-a60", "zeroquant-global-w3-g32", "spqr-w3"


@pytest.fixture(scope="module")
def made(tiny_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> JobSteps:
    quantize = Quantize(goals=("bal",), rivals=(SMOOTH, GLOBAL, SPARSE), sweep=(), compensate=False)
    text = Text(str(small_text), 256, str(small_text), 128)
    recipe = Recipe(model=Model(str(tiny_folder)), text=text, quantize=quantize, workload=Workload(16, 1, 16))
    out = tmp_path_factory.mktemp("job")
    return JobSteps(recipe, read_inputs(recipe), find_profile(recipe.hardware.profile), out, silent)


def weights_of(job: JobSteps, name: str) -> dict[str, np.ndarray]:
    """The weights of a rival whose layers are finished now."""
    layers = RivalLayers(job, name)
    layers.prepare()
    if layers.step is not None:
        job.passes.quantize((), (layers.step,))
    return {layer.name: load_rival_weight(layers.folder(layer)) for layer in job.inputs.checkpoint.layers}


def test_the_norms_take_the_scales_and_the_rows_stand_beside_full_precision(made: JobSteps) -> None:
    steps = {"fp16": full_precision(made), **{name: rival_method(made, name, name) for name in (SMOOTH, GLOBAL)}}
    found = finish_methods(made, steps)
    layers = made.inputs.checkpoint.layers
    scales = RivalLayers(made, SMOOTH).scales()
    assert {name.rpartition(".")[2] for name in scales} == {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
    assert f"inputs of {len(scales)} of {len(layers)} layers" in found[SMOOTH].notes[0]
    assert found[SMOOTH].accuracy.perplexity_a8 is not None
    assert found[GLOBAL].tiles and "damping of the target" in found[GLOBAL].notes[0]
    q, k = (
        next(layer for layer in layers if layer.name.endswith(end))
        for end in ("0.self_attn.q_proj", "0.self_attn.k_proj")
    )
    assert np.array_equal(scales[q.name], scales[k.name])  # they read one input
    # s of the input that q, k and v share, with the greatest weight of all three
    shared = [
        read_weight(made.inputs.checkpoint, layer)
        for layer in layers
        if layer.name in scales and "0.self_attn" in layer.name
    ]
    maxima = made.input_maxima[q.name].input_absmax
    assert maxima is not None
    greatest = np.max([np.abs(weight).max(axis=0) for weight in shared], axis=0)
    assert scales[q.name] == pytest.approx(maxima**0.6 / greatest**0.4, rel=1e-5)
    assert not list(made.steps.root.glob(f"{GLOBAL}-layers*"))  # the float32 weights of a finished rival are deleted


@pytest.mark.parametrize("name", [SMOOTH, GLOBAL, SPARSE])
def test_an_exported_rival_is_the_model_that_was_evaluated(made: JobSteps, name: str) -> None:
    weights = weights_of(made, name)
    scales = RivalLayers(made, name).scales()
    link = export_rival(made, name, made.steps.root.parent)
    plain = AutoModelForCausalLM.from_pretrained(link)
    assert plain.dtype == torch.float32
    tokens = torch.arange(20)[None]
    with torch.no_grad(), with_weights(made.model, weights):
        wanted = made.model(tokens).logits
        with activations_per_token(made.model, list(weights), input_scale=scales):
            rounded = made.model(tokens).logits
        assert torch.allclose(plain(tokens).logits, wanted, rtol=1e-4, atol=1e-5)
        with activations_per_token(plain, list(weights)):  # the norms hold the scales, so the inputs are x / s
            assert torch.allclose(plain(tokens).logits, rounded, rtol=1e-2, atol=2e-3)
    assert export_rival(made, name, made.steps.root.parent).resolve() == link.resolve()  # found again


def test_kept_weights_and_branches_are_in_the_tiles(made: JobSteps) -> None:
    for name, sparse, rank in ((SPARSE, True, 0), ("zeroquant-lorc4-w4-g128", False, 4)):
        weights_of(made, name)
        layers, layer = RivalLayers(made, name), made.inputs.checkpoint.layers[0]
        record, tiles = load_rival_layer(layers.folder(layer), layer, made.recipe.hardware.tile)
        assert tiles is not None and tiles.branch_rank == rank and (tiles.sparse_nnz > 0) == sparse
        if sparse:
            assert f"{tiles.sparse_nnz} of " in record.notes[0]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("fbquant-w4-g128-r500", "fbquant-w4-g128-r500 must have a rank of at most"),
        ("zeroquant-global-w4-g128", "must have two windows of calibration text at least"),
    ],
)
def test_a_rival_that_the_model_does_not_fit_is_refused_before_any_work(
    made: JobSteps, name: str, sentence: str
) -> None:
    quantize = Quantize(rivals=(name,))
    text = Text(calibration_tokens=1) if "global" in name else made.recipe.text
    with pytest.raises(RecipeError, match=sentence):
        check_rivals(Recipe(quantize=quantize, text=text), made.inputs)


def test_only_a_rival_of_the_job_is_exported(made: JobSteps) -> None:
    with pytest.raises(InputError, match=r"must be one of this job's, w8a8, w4a8, .*, not 'hqq'"):
        check_exports(made.recipe, ["hqq"])
