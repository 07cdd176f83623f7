"""What exports take from the original model: types, settings, layers, and the sentences of what does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from haloquant.errors import CheckpointError, InputError
from haloquant.lm.export.original_files import (
    cast,
    check_same_codebooks,
    find_layer,
    float_type,
    full_precision_config,
    with_dtype,
)
from support.halo_layers import codebooks


def test_bfloat16_rounds_as_torch_does() -> None:
    values = np.random.default_rng(0).normal(0, 1, 100000).astype(np.float32)
    values[:4] = [0.0, -0.0, 3.3e38, 1e-40]
    ours = torch.from_numpy(cast(values, "BF16", "x").view(np.int16)).view(torch.bfloat16)
    assert torch.equal(ours, torch.from_numpy(values).to(torch.bfloat16))


def test_float16_overflow_is_refused() -> None:
    with pytest.raises(InputError, match="weights of x must fit float16"):
        cast(np.array([1e6], np.float32), "F16", "x")


def test_a_layer_is_found_by_its_name_and_its_shape(tiny) -> None:
    checkpoint, (q, other, *_) = tiny
    known = {layer.name: layer for layer in checkpoint.layers}
    assert find_layer(known, q).name == q.layer
    with pytest.raises(InputError, match=r"^a quantized layer must be one of the checkpoint's, not 'lm_head'$"):
        find_layer(known, replace(q, layer="lm_head"))
    wide = next(x for x in tiny[1] if x.codes.shape != q.codes.shape)
    with pytest.raises(InputError, match=r"must be quantized as \(64, 64\), not \("):
        find_layer(known, replace(wide, layer=q.layer))
    check_same_codebooks(q, other)


def test_layers_of_other_words_or_tiles_are_refused(tiny) -> None:
    q, other = tiny[1][:2]
    words = replace(other, codebooks=codebooks()[::-1])
    with pytest.raises(InputError, match=rf"must have the same codebooks, not others as {other.layer}$"):
        check_same_codebooks(q, words)
    grid = replace(other.tiles.grid, tile_in=64)
    with pytest.raises(InputError, match=rf"must have tiles of \(32, 32\), not \(32, 64\) as {other.layer}$"):
        check_same_codebooks(q, replace(other, tiles=replace(other.tiles, grid=grid)))


def test_the_type_is_that_of_the_configuration_else_that_of_the_tensors(tiny) -> None:
    checkpoint = tiny[0]
    assert float_type(checkpoint, {"dtype": "bfloat16"}) == "BF16"
    assert float_type(checkpoint, {"torch_dtype": "float16"}) == "F16"
    assert float_type(checkpoint, {}) == "F32"
    assert with_dtype({"torch_dtype": "float16", "x": 1}, "BF16") == {"x": 1, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ('{"model_type"', CheckpointError, "must be the JSON configuration of a model, "),
        ("[1, 2]", CheckpointError, "must be the JSON configuration of a model, "),
        ('{"quantization_config": {}}', InputError, "must be of a model in full precision, not one that is quantized"),
    ],
)
def test_a_configuration_that_is_none_is_refused(tiny, tmp_path, text, error, sentence) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(error, match=sentence):
        full_precision_config(replace(tiny[0], folder=tmp_path))
    assert full_precision_config(tiny[0])["model_type"] == "llama"
