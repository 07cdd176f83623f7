"""Generated tokens are those of transformers, and times those of the clock."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from transformers import AutoModelForCausalLM

import haloquant
from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.export.packed import export_packed
from haloquant.lm.generation import bytes_per_token, generate, read_rate_b_per_s
from support.halo_layers import codebooks
from support.packed_folders import PROFILE
from support.tiny_model import quantized, save_llama


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("model") / "source", num_hidden_layers=1)


def test_tokens_are_those_of_greedy_generation_and_passes_are_timed(source: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(source)
    prompt = np.arange(5, 12)
    now = iter((10.0, 11.0, 14.0))
    found = generate(model, prompt, 9, clock=lambda: next(now))
    wanted = model.generate(torch.from_numpy(prompt)[None], do_sample=False, min_new_tokens=10, max_new_tokens=10)
    assert list(found.tokens) == wanted[0, prompt.size :].tolist()
    assert (found.prompt_s, found.decode_s) == (1.0, 3.0)


def test_bytes_are_those_of_the_matrices_as_stored(source: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(source)
    plain = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    head = 96 * 64  # tied to the embedding, and read for every token
    count = sum(layer.out_features * layer.in_features for layer in checkpoint.layers)
    assert bytes_per_token(plain) == 2 * (count + head)
    layers = quantized(checkpoint, codebooks(), sparse=0)
    export_packed(checkpoint, layers, tmp_path / "packed", **PROFILE)
    packed = haloquant.load(tmp_path / "packed", dtype=torch.bfloat16)
    assert bytes_per_token(packed) < bytes_per_token(plain) * 0.6
    eight = haloquant.load(tmp_path / "packed", dtype=torch.bfloat16, head_bits=8)
    assert (
        bytes_per_token(packed) - bytes_per_token(eight) == head - 4 * 96
    )  # a byte for each weight, 4 for each output
    assert read_rate_b_per_s(torch.device("cpu")) > 1e6
