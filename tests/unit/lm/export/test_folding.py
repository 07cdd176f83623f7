"""Where a division of an input can be folded, in models of several families, and the tensors that are divided."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.lm.checkpoint.reader import open_checkpoint
from haloquant.lm.checkpoint.safetensors import read_float32
from haloquant.lm.export.folding import Fold, folded_tensors, folds
from support.tiny_model import save_gpt2


def test_every_input_of_a_llama_folds_into_what_produces_it(tiny) -> None:
    found = folds(tiny[0])
    block = "model.layers.0."
    assert [(fold.layers[0].removeprefix(block), fold.vectors, fold.producer, fold.heads) for fold in found[:4]] == [
        ("self_attn.q_proj", (f"{block}input_layernorm.weight",), None, (1, 1)),
        ("self_attn.o_proj", (f"{block}self_attn.v_proj.bias",), f"{block}self_attn.v_proj", (4, 2)),
        ("mlp.gate_proj", (f"{block}post_attention_layernorm.weight",), None, (1, 1)),
        ("mlp.down_proj", (), f"{block}mlp.up_proj", (1, 1)),
    ]
    assert len(found) == 8 and len(found[0].layers) == 3


def test_an_input_that_only_some_selected_layers_read_does_not_fold(tiny) -> None:
    """The norm before k and v also feeds q, which stays as it is."""
    checkpoint = tiny[0]
    some = tuple(layer for layer in checkpoint.layers if not layer.name.endswith("q_proj"))
    found = folds(replace(checkpoint, layers=some))
    assert not any("input_layernorm" in vector for fold in found for vector in fold.vectors)
    assert len(found) == 6


def test_a_norm_that_shares_its_memory_does_not_fold(tiny) -> None:
    checkpoint = tiny[0]
    name = "model.layers.1.input_layernorm.weight"
    shared = replace(checkpoint, shared={**checkpoint.shared, "model.layers.0.input_layernorm.weight": name})
    assert not any("input_layernorm" in vector for fold in folds(shared) for vector in fold.vectors)


def test_a_gelu_is_not_passed(tmp_path) -> None:
    found = folds(open_checkpoint(save_gpt2(tmp_path / "gpt2")))
    assert len(found) == 4 and all(fold.producer is None and len(fold.vectors) == 2 for fold in found)


def test_a_value_head_is_divided_by_the_scale_of_its_first_query_head() -> None:
    """Four query heads of two channels read two value heads: heads 0 and 1 the first, 2 and 3 the second."""
    scale = np.array([1, 2, 3, 4, 5, 6, 7, 8], np.float32)
    assert Fold(("o",), (), "v", (4, 2)).row_divisors(scale).tolist() == [1, 2, 5, 6]
    assert Fold(("down",), (), "up").row_divisors(scale).tolist() == scale.tolist()


def test_vectors_are_divided_and_inputs_without_a_scale_are_left(tiny) -> None:
    checkpoint = tiny[0]
    places = folds(checkpoint)
    scales = {places[0].layers[0]: np.full(64, 4.0, np.float32), places[1].layers[0]: np.full(64, 0.5, np.float32)}
    divided = folded_tensors(checkpoint, places, scales)
    norm, bias = "model.layers.0.input_layernorm.weight", "model.layers.0.self_attn.v_proj.bias"
    assert set(divided) == {norm, bias}
    for name, divisor in ((norm, 4.0), (bias, 0.5)):
        found = np.frombuffer(divided[name].data, np.float32)
        np.testing.assert_array_equal(found, read_float32(checkpoint.tensors[name]).ravel() / divisor)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_opt_folds_its_feed_forward_only_through_a_relu(tmp_path, activation: str) -> None:
    """relu(x / s) = relu(x) / s for s > 0; a GELU has no such law."""
    transformers = pytest.importorskip("transformers")
    config = transformers.OPTConfig(
        vocab_size=32, hidden_size=16, word_embed_proj_dim=16, ffn_dim=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, activation_function=activation,
    )  # fmt: skip
    transformers.OPTForCausalLM(config).save_pretrained(tmp_path)
    producers = [fold.producer for fold in folds(open_checkpoint(tmp_path)) if fold.producer]
    block = "model.decoder.layers.0."
    assert producers == [f"{block}self_attn.v_proj", *([f"{block}fc1"] if activation == "relu" else [])]
