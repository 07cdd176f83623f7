"""The dense part in the compressed-tensors format, and layers that it cannot hold."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.compressed_tensors import export_compressed
from haloquant.quant.layer import dequantize, resized
from support.halo_layers import codebooks
from support.tiny_model import quantized, save_llama


def test_compressed_tensors_refuses_sparse_weights(tiny, tmp_path) -> None:
    wanted = (
        "must have no sparse weights to be written as compressed-tensors, not .*; quantize with --sparse-budget 0, or"
    )
    with pytest.raises(InputError, match=wanted):
        export_compressed(*tiny, tmp_path / "ct")
    with pytest.raises(InputError, match=r"whose 172 inputs are a multiple of the tile's 32"):
        export_compressed(tiny[0], quantized(tiny[0], codebooks(), sparse=0), tmp_path / "ct")


def test_compressed_tensors_refuses_scales_that_float16_does_not_hold(tmp_path) -> None:
    checkpoint = open_checkpoint(save_llama(tmp_path / "wide", intermediate_size=192))
    layers = [resized(q, 40) for q in quantized(checkpoint, codebooks(), sparse=0)]
    with pytest.raises(InputError, match=r"must have scales that float16 holds .* too small; export packed or dequant"):
        export_compressed(checkpoint, layers, tmp_path / "ct")


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
