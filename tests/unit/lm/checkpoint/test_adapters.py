"""LoRA adapters beside a model: merged by hand, and those that are refused."""

import json
import math
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from haloquant.errors import CheckpointError  # noqa: E402
from haloquant.lm.checkpoint.reader import content_hash, open_checkpoint, read_tensor, read_weight  # noqa: E402
from haloquant.lm.export.model_folder import RawTensor, copy_small_files  # noqa: E402
from haloquant.lm.swap_weights import find_module  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from support.tiny_model import save_gpt2, save_llama  # noqa: E402

Q, V = "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj"
SHAPES = {Q: (64, 64), V: (32, 64)}


def add_adapter(
    folder: Path, shapes: dict[str, tuple[int, int]], ranks: dict[str, int] | None = None, **settings: Any
) -> dict[str, Any]:
    """Write an adapter of the given layers [out, in], of rank 4 or of the ranks given; return B A by layer."""
    rng = np.random.default_rng(0)
    tensors, products = {}, {}
    for layer, (rows, cols) in shapes.items():
        rank = (ranks or {}).get(layer, 4)
        a = rng.normal(0, 0.1, (rank, cols)).astype(np.float32)
        b = rng.normal(0, 0.1, (rows, rank)).astype(np.float32)
        tensors |= {f"base_model.model.{layer}.lora_A.weight": a, f"base_model.model.{layer}.lora_B.weight": b}
        products[layer] = b.astype(np.float64) @ a.astype(np.float64)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]} | settings
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return products


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize(
    ("settings", "scales"),
    [
        ({}, (4.0, 4.0)),
        ({"use_rslora": True}, (8.0, 8.0)),
        ({"alpha_pattern": {"q_proj": 2}, "rank_pattern": {"layers.1.self_attn.v_proj": 8}}, (0.5, 2.0)),
    ],
)
def test_the_weights_are_those_of_the_model_plus_the_scaled_product(
    settings: dict[str, Any], scales: tuple[float, float], folder: Path
) -> None:
    plain = open_checkpoint(folder)
    ranks = {V: 8} if "rank_pattern" in settings else {}
    products = add_adapter(folder, SHAPES, ranks, **settings)
    merged = open_checkpoint(folder)
    kind = "4, 8" if ranks else "4"
    assert merged.notes == (f"the adapter beside the model (LoRA of rank {kind}) is merged into 2 layers",)
    assert content_hash(merged) != content_hash(plain)
    for layer in merged.layers:
        expected = read_weight(plain, layer).astype(np.float64)
        if layer.name in products:
            expected = expected + scales[layer.name == V] * products[layer.name]
        assert np.allclose(read_weight(merged, layer), expected, rtol=0, atol=1e-6)
    model = load_model(folder)
    for name in (Q, V):
        assert np.array_equal(model.get_submodule(name).weight.numpy(), read_weight(merged, name))
        copy = RawTensor.read(merged.tensors[f"{name}.weight"])
        assert copy.dtype == "F32" and np.array_equal(copy.data, read_tensor(merged, f"{name}.weight"))


def test_a_model_of_text_and_images_takes_an_adapter_too(tmp_path: Path) -> None:
    text = {
        "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2,
    }  # fmt: skip
    sight = {
        "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = transformers.LlavaConfig(text_config=text, vision_config=sight, image_token_index=60)
    transformers.LlavaForConditionalGeneration(config).save_pretrained(tmp_path)
    layer = open_checkpoint(tmp_path).layers[0]
    plain = read_weight(open_checkpoint(tmp_path), layer)
    product = add_adapter(tmp_path, {layer.name: (layer.out_features, layer.in_features)})[layer.name]
    weight = find_module(load_model(tmp_path), layer.name).weight.numpy()
    assert np.allclose(weight, plain + 4.0 * product, rtol=0, atol=1e-6)


def test_conv1d_weights_get_the_transposed_product(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path)
    layer = "transformer.h.1.attn.c_attn"
    plain = read_weight(open_checkpoint(folder), layer)
    product = add_adapter(folder, {layer: (192, 64)}, fan_in_fan_out=True)[layer]
    assert np.allclose(read_weight(open_checkpoint(folder), layer), plain + 4 * product, rtol=0, atol=1e-6)


def test_a_change_of_the_scale_is_another_model_and_the_packed_folder_has_no_adapter(
    folder: Path, tmp_path: Path
) -> None:
    add_adapter(folder, SHAPES)
    first = content_hash(open_checkpoint(folder))
    add_adapter(folder, SHAPES, lora_alpha=8)
    assert content_hash(open_checkpoint(folder)) != first
    target = tmp_path / "copied"
    target.mkdir()
    copy_small_files(folder, target)
    assert not (target / "adapter_config.json").exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"use_dora": True}, "a plain LoRA adapter to be merged, not one with use_dora"),
        ({"peft_type": "IA3"}, "not one with peft_type 'IA3'"),
        ({"bias": "all"}, "not one with bias 'all'"),
        ({"modules_to_save": ["lm_head"]}, "not one with modules_to_save"),
        ({"init_lora_weights": "pissa_niter_4"}, "not one with init_lora_weights 'pissa_niter_4'"),
        ({"r": 0}, "must be the JSON configuration of an adapter"),
        ({"r": "four"}, "must be the JSON configuration of an adapter"),
    ],
)
def test_other_adapters_are_refused(settings: dict[str, Any], sentence: str, folder: Path) -> None:
    add_adapter(folder, SHAPES, **settings)
    with pytest.raises(CheckpointError, match=sentence):
        open_checkpoint(folder)


def test_a_rank_that_is_not_that_of_the_matrices_is_refused_as_the_scale_follows_from_it(folder: Path) -> None:
    for settings in ({"r": 8}, {"rank_pattern": {"v_proj": 2}}):
        add_adapter(folder, SHAPES, **settings)
        with pytest.raises(CheckpointError, match=r"rank of the matrices of .*_proj, which is 4, but gives"):
            open_checkpoint(folder)


def test_an_adapter_without_its_model_or_in_a_pickle_is_named(folder: Path) -> None:
    add_adapter(folder, SHAPES)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(CheckpointError, match=r"does not \(adapter_model\.bin can run code and is not read\)"):
        open_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds an adapter and no model; copy adapter_config\.json"):
        open_checkpoint(folder)


def test_adapters_of_other_models_and_halves_are_refused(folder: Path) -> None:
    add_adapter(folder, {"model.layers.7.self_attn.q_proj": (64, 64)})
    with pytest.raises(CheckpointError, match=r"which has no layer model\.layers\.7\.self_attn\.q_proj"):
        open_checkpoint(folder)
    add_adapter(folder, {Q: (64, 128)})
    with pytest.raises(CheckpointError, match=r"multiply to \[64, 64\] for .*q_proj, not \[64, 4\] and \[4, 128\]"):
        open_checkpoint(folder)
    add_adapter(folder, SHAPES)
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    del tensors[f"base_model.model.{V}.lora_B.weight"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"must hold lora_A and lora_B of .*v_proj, but holds one"):
        open_checkpoint(folder)
    save_file({"base_model.model.lm_head.modules_to_save.weight": np.ones((2, 2), np.float32)}, path)
    with pytest.raises(CheckpointError, match=r"not base_model\.model\.lm_head\.modules_to_save\.weight"):
        open_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"must hold adapter_model\.safetensors beside adapter_config\.json"):
        open_checkpoint(folder)


def test_peft_merges_to_the_same_weights(folder: Path) -> None:
    import peft

    model = load_model(folder)
    settings = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "down_proj"], use_rslora=True, rank_pattern={"down_proj": 2}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft asks transformers for names that it will remove
        adapted = peft.get_peft_model(model, settings)
    torch.manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted.save_pretrained(folder)
    merged = open_checkpoint(folder)
    assert math.isclose(adapted.base_model.model.model.layers[0].mlp.down_proj.scaling["default"], 6 / math.sqrt(2))
    expected = adapted.merge_and_unload().state_dict()
    for layer in merged.layers:
        assert np.allclose(read_weight(merged, layer), expected[layer.tensor].numpy(), rtol=0, atol=1e-6), layer.name
