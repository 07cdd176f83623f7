"""A model folder written and read back: packed, dequantized, compressed-tensors; damage is refused with a sentence."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

from haloquant.errors import FormatError, HaloquantError, InputError
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.compressed_tensors import export_compressed
from haloquant.lm.export.dequantized import export_dequantized
from haloquant.lm.export.original_files import cast
from haloquant.lm.export.packed import export_packed
from haloquant.lm.packed.config import digest, parse_config
from haloquant.lm.packed.reader import check_digest, iterate_layers, open_packed, verify
from haloquant.quant.layer import dequantize
from support.halo_layers import codebooks, same
from support.tiny_model import quantized, save_gpt2, save_llama

PROFILE = {"profile_name": "booth8", "profile_sha256": "ab" * 32}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = save_llama(tmp_path_factory.mktemp("tiny") / "model")
    (folder / "tokenizer_config.json").write_text("{}")
    checkpoint = open_checkpoint(folder)
    return checkpoint, quantized(checkpoint, codebooks())


@pytest.fixture(scope="module")
def packed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "halo"
    export_packed(*tiny, folder, **PROFILE)
    return folder


@pytest.fixture
def copy(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "copy")


def test_layers_come_back_as_they_were(tiny, packed) -> None:
    found = list(iterate_layers(open_packed(packed)))
    assert [q.layer for q in found] == [q.layer for q in tiny[1]]
    assert all(same(a, b) for a, b in zip(found, tiny[1], strict=True))
    books = found[0].codebooks
    assert [b.point for b in books] == [b.point for b in codebooks()]


def test_verify_counts_what_it_looked_at(tiny, packed) -> None:
    found = verify(packed, PROFILE["profile_sha256"])
    assert found.layers == 14
    assert found.weights == sum(q.codes.size for q in tiny[1])
    assert found.files == len(list(packed.iterdir())) - 1
    assert (packed / "tokenizer_config.json").read_text() == "{}"


def test_other_tensors_are_copied_byte_for_byte(tiny, packed) -> None:
    before, after = load_file(tiny[0].folder / "model.safetensors"), load_file(packed / "model.safetensors")
    kept = [name for name in before if name.endswith(("norm.weight", "bias", "embed_tokens.weight"))]
    assert len(kept) > 10
    assert all(np.array_equal(before[name], after[name]) for name in kept)


def test_shards_hold_the_same_tensors(tiny, packed, tmp_path) -> None:
    export_packed(*tiny, tmp_path / "shards", **PROFILE, shard_bytes=20000)
    assert len(list((tmp_path / "shards").glob("model-*-of-*.safetensors"))) > 2
    found = list(iterate_layers(open_packed(tmp_path / "shards")))
    assert all(same(a, b) for a, b in zip(found, tiny[1], strict=True))
    assert open_packed(tmp_path / "shards").config.sha256 == open_packed(packed).config.sha256
    verify(tmp_path / "shards")


def test_nothing_is_left_of_an_export_that_failed(tiny, tmp_path) -> None:
    def broken():
        yield tiny[1][0]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        export_packed(tiny[0], broken(), tmp_path / "out", **PROFILE)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(tiny, packed) -> None:
    with pytest.raises(InputError, match="must not exist or be empty"):
        export_packed(*tiny, packed, **PROFILE)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_dequantized_model_needs_none_of_our_code(tiny, tmp_path, dtype) -> None:
    done = []
    export_dequantized(*tiny, tmp_path / "plain", dtype=dtype, progress=lambda *at: done.append(at))
    assert done[-1] == (14, 14)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    kind = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}[dtype]
    for q in tiny[1]:
        weight = model.get_submodule(q.layer).weight
        assert weight.dtype == kind
        assert torch.equal(weight, torch.from_numpy(dequantize(q)).to(kind))


def test_gpt2_is_written_transposed(tmp_path) -> None:
    checkpoint = open_checkpoint(save_gpt2(tmp_path / "gpt2"))
    layers = quantized(checkpoint, codebooks())
    export_dequantized(checkpoint, layers, tmp_path / "plain", dtype="F32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    name = layers[0].layer if layers[0].layer.startswith("transformer") else "transformer." + layers[0].layer
    assert torch.equal(model.get_submodule(name).weight.T, torch.from_numpy(dequantize(layers[0])))


def test_bfloat16_rounds_as_torch_does() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100000).astype(np.float32)
    values[:4] = [0.0, -0.0, 3.3e38, 1e-40]
    ours = torch.from_numpy(cast(values, "BF16", "x").view(np.int16)).view(torch.bfloat16)
    assert torch.equal(ours, torch.from_numpy(values).to(torch.bfloat16))


def test_float16_overflow_is_refused() -> None:
    with pytest.raises(InputError, match="weights of x must fit float16"):
        cast(np.array([1e6], np.float32), "F16", "x")


def test_compressed_tensors_refuses_sparse_weights(tiny, tmp_path) -> None:
    wanted = (
        "must have no sparse weights to be written as compressed-tensors, not .*; quantize with --sparse-budget 0, or"
    )
    with pytest.raises(InputError, match=wanted):
        export_compressed(*tiny, tmp_path / "ct")
    with pytest.raises(InputError, match=r"whose 172 inputs are a multiple of the tile's 32"):
        export_compressed(tiny[0], quantized(tiny[0], codebooks(), sparse=0), tmp_path / "ct")


def test_compressed_tensors_bytes(tmp_path) -> None:
    checkpoint = open_checkpoint(save_llama(tmp_path / "wide", intermediate_size=192))
    layers = quantized(checkpoint, codebooks(), sparse=0)
    export_compressed(checkpoint, layers, tmp_path / "ct")
    tensors = load_file(tmp_path / "ct" / "model.safetensors")
    for q in layers:
        words = tensors[f"{q.layer}.weight_packed"]
        values = ((words[..., None] >> np.arange(0, 32, 8)) & 255).reshape(q.codes.shape) - 128
        scale = np.repeat(tensors[f"{q.layer}.weight_scale"].astype(np.float32), 32, axis=1)
        assert np.array_equal(values.astype(np.float32) * scale, dequantize(q))


# --- bad input --------------------------------------------------------------------------------------------------------


def edit(folder, change) -> None:
    """Change config.json, and the manifest with it, as an editor or a bad merge would."""
    config = json.loads((folder / "config.json").read_text())
    change(config["quantization_config"])
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "halo_manifest.json").unlink()


def reseal(folder) -> None:
    """Give the folder a right digest, so that what stands behind it is tested too."""
    model = open_packed(folder)
    from haloquant.lm.packed.reader import tensor_digest

    version = model.config.version
    sha = digest(model.config, {name: tensor_digest(tensor, version) for name, tensor in model.tensors.items()})
    edit_again = json.loads((folder / "config.json").read_text())
    edit_again["quantization_config"]["sha256"] = sha
    (folder / "config.json").write_text(json.dumps(edit_again))


def test_a_flipped_byte_is_found(copy) -> None:
    shard = copy / "model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FormatError, match=r"model.safetensors must have the SHA-256 \w+, not \w+: the file is damaged"):
        verify(copy)
    (copy / "halo_manifest.json").unlink()
    with pytest.raises(FormatError, match="their SHA-256 is not"):
        verify(copy)


def test_a_missing_shard_or_file_is_found(copy) -> None:
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(FormatError, match=r"must hold tokenizer_config.json, which halo_manifest.json names"):
        verify(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(HaloquantError, match=r"must hold model.safetensors"):
        verify(copy)


def set_item(key, value):
    def change(config):
        config[key] = value

    return change


def set_book(key, value):
    def change(config):
        config["codebooks"][0][key] = value

    return change


EDITS = {
    "newer": (set_item("version", 3), "must be of format version 1 to 2, not 3: install a newer haloquant"),
    "older": (set_item("version", 0), "must be of format version 1 to 2, not 0: quantize the model again"),
    "no_version": (lambda c: c.pop("version"), "must be of format version 1 to 2, not None: it is damaged"),
    "method": (set_item("quant_method", "gptq"), "quant_method of a packed HALO model must be 'halo', not 'gptq'"),
    "unknown": (set_item("surprise", 1), "must be what version 2 says, but: .*surprise"),
    "descending": (set_book("values", [3, 0, -3]), r"must be ascending values with 0 among them, not \[3, 0, -3\]"),
    "wide": (set_book("values", [-300, 0, 1]), "must hold values of int8"),
    "zero_tile": (set_item("tile_in", 0), "tile sizes must be between 1 and 65536"),
    "no_books": (set_item("codebooks", []), "codebooks of a packed model must be at least one"),
    "layers": (lambda c: c["layers"].pop(), "must belong to a layer that config.json names"),
    "more_layers": (
        lambda c: c["layers"].append("model.x"),
        "model.x must have a tensor weight_packed, and it",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_configuration_is_refused(copy, name) -> None:
    change, sentence = EDITS[name]
    edit(copy, change)
    with pytest.raises(FormatError, match=sentence):
        open_packed(copy)


SILENT = {
    "profile": set_item("profile_sha256", "cd" * 32),
    "codebook": set_book("values", [-127, -96, -64, -48, -32, -16, -8, -4, 0, 4, 8, 16, 32, 48, 64, 97]),
    "point": set_book("frequency_hz", 5e9),
}


@pytest.mark.parametrize("name", SILENT)
def test_a_configuration_of_another_model_is_refused(copy, name) -> None:
    edit(copy, SILENT[name])
    with pytest.raises(FormatError, match=r"the configuration \(codebooks, profile, layers\) was changed"):
        verify(copy)


def test_a_model_for_another_profile_is_refused(packed) -> None:
    with pytest.raises(FormatError, match="must be made for the profile cdcdcdcdcdcd, not for booth8"):
        verify(packed, "cd" * 32)


def test_codes_out_of_range_are_refused_behind_a_right_digest(tiny, copy) -> None:
    def shrink(config):  # the nine-word codebook loses a word, so that code 8 has no meaning
        config["codebooks"][1]["values"] = config["codebooks"][1]["values"][:8]

    edit(copy, shrink)
    reseal(copy)
    check_digest(open_packed(copy).config, open_packed(copy).tensors)
    with pytest.raises(FormatError, match="must be below the size of their tile's codebook, but"):
        verify(copy)


def test_a_config_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(FormatError, match="must be 'halo', not None"):
        parse_config(None)
