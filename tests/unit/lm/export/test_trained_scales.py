"""A packed model written with other scales: only these and what covers them may differ."""

import json

import numpy as np
import pytest
import torch

from haloquant.errors import FormatError, InputError
from haloquant.lm.export.model_folder import MANIFEST
from haloquant.lm.export.trained_scales import export_with_scales
from haloquant.lm.packed.loading import load
from haloquant.lm.packed.reader import open_packed, read_layer, tensor_digest, verify
from haloquant.quant.layer import dequantize, mac_values
from haloquant.store.atomic_files import read_manifest


def test_only_the_scales_named_change(packed, tmp_path) -> None:
    model = open_packed(packed)
    changed = model.config.layers[1]
    scale = (read_layer(model, changed).scale * 1.25).astype(np.float16)
    export_with_scales(model, {changed: scale}, tmp_path / "new", {"recovery steps": "3"}, shard_bytes=1 << 14)
    new = open_packed(tmp_path / "new")
    verify(tmp_path / "new", model.config.profile_sha256)
    for name, tensor in model.tensors.items():
        same = tensor_digest(tensor, 2) == tensor_digest(new.tensors[name], 2)
        assert same == (name != f"{changed}.weight_scale"), name
    assert new.tensors.keys() == model.tensors.keys()
    before, after = read_layer(model, changed), read_layer(new, changed)
    np.testing.assert_array_equal(mac_values(after), mac_values(before))
    np.testing.assert_array_equal(after.tiles.codebook, before.tiles.codebook)
    np.testing.assert_array_equal(after.scale, scale.astype(np.float32))
    assert new.config.bits_per_weight == model.config.bits_per_weight
    assert read_manifest(tmp_path / "new", MANIFEST).made_by["recovery steps"] == "3"


def test_scales_that_do_not_fit(packed, tmp_path) -> None:
    model = open_packed(packed)
    layer = model.config.layers[0]
    scale = read_layer(model, layer).scale.astype(np.float16)
    for wrong in (scale[:-1], np.full_like(scale, np.inf)):
        with pytest.raises(InputError, match=rf"^{layer}.weight_scale must be finite float16 numbers of shape"):
            export_with_scales(model, {layer: wrong}, tmp_path / "new", {})
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="must not exist or be empty"):
        export_with_scales(model, {layer: scale}, tmp_path / "full", {})
    assert not (tmp_path / "new").exists()


def test_offsets_make_version_3_and_are_stored_and_computed(packed, tmp_path) -> None:
    model = open_packed(packed)
    layer = model.config.layers[1]
    q = read_layer(model, layer)
    offset = (np.random.default_rng(1).standard_normal(q.scale.shape) * q.scale).astype(np.float16)
    bits = export_with_scales(model, {}, tmp_path / "new", {}, offsets={layer: offset})
    new = open_packed(tmp_path / "new")
    verify(tmp_path / "new")
    assert new.config.version == 3 and model.config.version == 2
    count = sum(read_layer(model, name).codes.size for name in model.config.layers)
    assert (
        bits
        == new.config.bits_per_weight
        == pytest.approx(model.config.bits_per_weight + 16 * offset.size / count, abs=1e-6)
    )
    found = read_layer(new, layer)
    assert found.offset is not None
    np.testing.assert_array_equal(found.offset, offset.astype(np.float32))
    loaded = load(tmp_path / "new", dtype=torch.float32)
    x = torch.randn(3, q.codes.shape[1], generator=torch.Generator().manual_seed(0))
    module = loaded.get_submodule(layer)
    expected = x @ torch.from_numpy(dequantize(found)).T
    torch.testing.assert_close(module(x) - (0 if module.bias is None else module.bias), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module.to_linear()(x), module(x), rtol=1e-4, atol=1e-5)
    loaded.to(torch.bfloat16).save_pretrained(tmp_path / "again")
    assert open_packed(tmp_path / "again").config.version == 3
    np.testing.assert_array_equal(read_layer(open_packed(tmp_path / "again"), layer).offset, found.offset)
    again = export_with_scales(new, {}, tmp_path / "third", {}, offsets={layer: offset * 2})
    assert again == bits
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    config["quantization_config"]["version"] = 2
    (tmp_path / "new" / "config.json").write_text(json.dumps(config))
    with pytest.raises(FormatError, match=r"weight_offset must be of format version 3, not 2"):
        open_packed(tmp_path / "new")
