"""A dequantized model is an ordinary model with the weights that the packed one stands for."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.dequantized import export_dequantized
from haloquant.quant.layer import dequantize
from support.halo_layers import codebooks
from support.tiny_model import quantized, save_gpt2


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
