"""A model with sparse inputs from the command to generated tokens: packed, verified, evaluated, generated, compared."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

import haloquant
from haloquant.cli.app import invoke
from haloquant.errors import FormatError, InputError
from haloquant.jobs.evaluation import Evaluation
from haloquant.lm import input_sparsity
from haloquant.lm.checkpoint.model_config import read_config
from haloquant.lm.packed.halo_linear import HaloLinear
from haloquant.lm.packed.reader import open_packed, read_mask
from haloquant.quant.reference.input_sparsity import kept_inputs
from haloquant.recipe import read_recipe
from support.recipe_keys import with_value
from support.small_job import save_recipe_of_one_goal

pytestmark = pytest.mark.timeout(600)
LAYER = "model.layers.0.mlp.up_proj"


@pytest.fixture(scope="module")
def models(one_block_folder: Path, small_text: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same model packed with all inputs, and with half of them by two ways to divide the share."""
    home = tmp_path_factory.mktemp("sparse")
    command = [
        "quantize",
        str(one_block_folder),
        "--calibration",
        str(small_text),
        "--samples",
        "2",
        "--tile",
        "32",
        "-q",
    ]
    sparse = ["--input-sparsity", "0.5"]
    for name, extra in {
        "dense": [], "uniform": sparse, "divided": [*sparse, "--input-allocation", "divergence"],
    }.items():  # fmt: skip
        assert invoke([*command, "--out", str(home / name), *extra]) == 0
    return {folder.name: folder for folder in home.iterdir()}


def test_the_packed_model_holds_masks_beside_the_same_weights(models: dict[str, Path]) -> None:
    dense, sparse = open_packed(models["dense"]), open_packed(models["uniform"])
    assert (dense.config.version, sparse.config.version) == (2, 4)
    masks = {layer: read_mask(sparse, layer) for layer in sparse.config.layers}
    # Equal tokens have equal scores, of which more are left out together.
    assert all(mask and 0.5 <= mask.sparsity < 0.505 for mask in masks.values())
    assert haloquant.verify(models["uniform"]).bits_per_weight > haloquant.verify(models["dense"]).bits_per_weight
    same = [name for name in dense.tensors if dense.tensors[name].size_bytes]
    for name in same:
        one, other = (model.tensors[name] for model in (dense, sparse))
        read = [t.file.read_bytes()[t.offset : t.offset + t.size_bytes] for t in (one, other)]
        assert read[0] == read[1], name


def test_a_divided_share_leaves_out_as_much(models: dict[str, Path]) -> None:
    model = open_packed(models["divided"])
    sizes = {layer: haloquant_size(model, layer) for layer in model.config.layers}
    masks = {layer: read_mask(model, layer) for layer in sizes}
    left_out = sum(sizes[layer] * mask.sparsity for layer, mask in masks.items() if mask)
    assert left_out >= (0.5 - 1e-3) * sum(sizes.values())
    assert len({mask.sparsity for mask in masks.values() if mask}) > 1


def haloquant_size(model, layer: str) -> int:
    shape = model.tensors[f"{layer}.weight_shape"]
    raw = shape.file.read_bytes()[shape.offset : shape.offset + shape.size_bytes]
    return int(np.prod(np.frombuffer(raw, np.int32)[:2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_generated_token_leaves_inputs_out_and_a_prompt_does_not(dtype, models: dict[str, Path]) -> None:
    dense, sparse = (haloquant.load(models[name], dtype=dtype).get_submodule(LAYER) for name in ("dense", "uniform"))
    assert isinstance(sparse, HaloLinear)
    mask = read_mask(open_packed(models["uniform"]), LAYER)
    assert mask is not None
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 5, 32)).astype(np.float32)).to(dtype)
    with torch.inference_mode():
        assert torch.equal(sparse(x), dense(x))
        for token in range(5):
            one = x[:, token : token + 1]
            kept = torch.from_numpy(kept_inputs(one[0].float().numpy(), mask))
            assert 0 < int(kept.sum()) < 32
            wanted = dense(torch.where(kept, one, 0).expand(1, 2, 32))[:, :1]
            torch.testing.assert_close(sparse(one), wanted, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-5)


def test_masks_keep_their_types_and_are_saved_by_transformers(models: dict[str, Path], tmp_path: Path) -> None:
    model = haloquant.load(models["uniform"]).to(torch.bfloat16)
    layer = model.get_submodule(LAYER)
    assert (layer.input_threshold.dtype, layer.input_norm.dtype) == (torch.float32, torch.float16)
    model.save_pretrained(tmp_path / "again")
    one, other = (read_mask(open_packed(folder), LAYER) for folder in (models["uniform"], tmp_path / "again"))
    assert one is not None and other is not None
    assert (one.threshold, one.sparsity) == (other.threshold, other.sparsity) and np.array_equal(one.norm, other.norm)


def test_rounded_inputs_are_left_out_first(models: dict[str, Path]) -> None:
    """In int8 arithmetic, the token's scale is that of the inputs that are left."""
    layer = haloquant.load(models["uniform"], activations="int8").get_submodule(LAYER)
    x = torch.randn(1, 1, 32, generator=torch.Generator().manual_seed(0))
    mask = read_mask(open_packed(models["uniform"]), LAYER)
    assert mask is not None
    kept = torch.where(torch.from_numpy(kept_inputs(x[0].numpy(), mask)), x, 0)
    rounded = (kept / (kept.abs().max() / 127)).round() * (kept.abs().max() / 127)
    with torch.inference_mode():
        torch.testing.assert_close(
            layer(x)[0, 0], layer.dequantize(torch.float32) @ rounded[0, 0], rtol=1e-4, atol=1e-5
        )


def test_an_evaluation_leaves_inputs_out_and_says_so(models: dict[str, Path], small_text: Path) -> None:
    def perplexity(name: str, **settings) -> Evaluation:
        return haloquant.evaluate(models[name], small_text, progress=False, **settings)

    dense, sparse = perplexity("dense"), perplexity("uniform")
    assert dense.input_density is None and sparse.input_density == pytest.approx(0.5, abs=0.1)
    assert "left out by the model's thresholds" in sparse.description
    assert sparse.perplexity != dense.perplexity == perplexity("uniform", dense_share=1.0).perplexity
    half = perplexity("uniform", dense_share=0.5)
    assert "the first 32 of each window as context only" in half.description
    # The thresholds of an evaluation are found on the beginning of the text; those of the model on its windows.
    found = perplexity("dense", input_sparsity=0.5, calibration=small_text)
    assert found.input_density == pytest.approx(0.5, abs=0.1)
    assert "the same share in each layer, by thresholds from" in found.description


def test_masks_in_a_model_of_an_older_version_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "older"
    folder.mkdir()
    for file in models["uniform"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = read_config(folder)
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": config["quantization_config"] | {"version": 3}})
    )
    with pytest.raises(FormatError, match=r"input_\w+ must be of format version 4, not 3"):
        open_packed(folder)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"input_sparsity": 1.5}, r"^input_sparsity must be 0 to 0\.95, not 1\.5$"),
        ({"dense_share": 0.5}, "^dense_share must come with input_sparsity, or with a packed model"),
        ({"input_allocation": "divergence"}, "^input_allocation must come with input_sparsity"),
        ({"input_sparsity": 0.5, "by_block": True}, "^input_sparsity must be 0 for an evaluation block by block"),
        ({"input_sparsity": 0.5, "dense_share": 1.5}, "^dense_share must be 0 to 1, not 1.5"),
    ],
)
def test_mistakes_are_answered_by_a_sentence(settings, said: str, models: dict[str, Path], small_text: Path) -> None:
    with pytest.raises(InputError, match=said):
        haloquant.evaluate(models["dense"], small_text, progress=False, **settings)


def test_a_model_with_masks_takes_no_others(models: dict[str, Path], small_text: Path) -> None:
    with pytest.raises(InputError, match=r"^input_sparsity must be 0 for uniform, whose layers hold thresholds"):
        haloquant.evaluate(models["uniform"], small_text, progress=False, input_sparsity=0.5)


def test_a_whole_job_reports_the_density_and_packs_what_quantize_packs(
    one_block_folder: Path, small_text: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe(save_recipe_of_one_goal(tmp_path / "recipe.toml", one_block_folder, small_text))
    recipe = with_value(recipe, "quantize.input_sparsity", 0.5)
    searches: list[int] = []
    divide = input_sparsity.allocate_levels
    monkeypatch.setattr(input_sparsity, "allocate_levels", lambda *given: searches.append(0) or divide(*given))
    done = haloquant.run(
        with_value(recipe, "quantize.input_allocation", "divergence"), tmp_path / "out", progress=False
    )
    assert len(searches) == 1  # the packed model takes what the evaluation chose
    row, plain = done.results.method("halo-bal"), done.results.method("fp16")
    assert row.input_density == pytest.approx(0.5, abs=0.1) and plain.input_density is None
    assert any("leaves out inputs that hold" in note for note in row.notes)
    assert "inputs kept" in (tmp_path / "out/results.md").read_text()
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "out/model" / name).read_bytes() == (models["divided"] / name).read_bytes()


def test_a_forecast_counts_the_passes(one_block_folder: Path) -> None:
    def stage(**settings):
        return {found.name: found for found in haloquant.forecast(one_block_folder, device="cpu", **settings).stages}

    assert "sparse inputs" not in stage()
    once, often = (
        stage(input_sparsity=0.5, input_allocation=how)["sparse inputs"] for how in ("uniform", "divergence")
    )
    assert often.seconds > 20 * once.seconds > 0
