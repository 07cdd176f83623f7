"""The compressed-tensors export, read by compressed-tensors itself and by transformers with it."""

import pytest

pytest.importorskip("compressed_tensors", reason="needs compressed-tensors, which the project does not require")

import torch
from transformers import AutoModelForCausalLM

from halo_layers import codebooks
from haloquant.lm.checkpoint import open_checkpoint
from haloquant.lm.compressed import export_compressed
from haloquant.lm.plain import export_dequantized
from tiny_model import quantized, save_llama


@pytest.mark.crosscheck
def test_logits_are_those_of_the_dequantized_model(tmp_path) -> None:
    checkpoint = open_checkpoint(save_llama(tmp_path / "plain", intermediate_size=192))
    layers = quantized(checkpoint, codebooks(), sparse=0)
    export_compressed(checkpoint, layers, tmp_path / "compressed")
    export_dequantized(checkpoint, layers, tmp_path / "dequantized", dtype="F32")
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        ours = AutoModelForCausalLM.from_pretrained(tmp_path / "compressed")(ids).logits
        plain = AutoModelForCausalLM.from_pretrained(tmp_path / "dequantized")(ids).logits
    assert torch.equal(ours, plain)
