"""A packed model written with other scales: only these and what covers them may differ."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.lm.export.model_folder import MANIFEST
from haloquant.lm.export.trained_scales import export_with_scales
from haloquant.lm.packed.reader import open_packed, read_layer, tensor_digest, verify
from haloquant.quant.layer import mac_values
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
