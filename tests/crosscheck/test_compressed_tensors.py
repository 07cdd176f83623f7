"""The compressed-tensors export, read by compressed-tensors itself and by transformers with it."""

import pytest

from support.peers import peer

peer("compressed_tensors", "compressed-tensors")

import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.export.compressed_tensors import export_compressed  # noqa: E402
from haloquant.lm.export.dequantized import export_dequantized  # noqa: E402
from support.halo_layers import codebooks  # noqa: E402
from support.tiny_model import quantized, save_llama  # noqa: E402


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
