"""Which tensors of a checkpoint are layers, in which order they run, and what patterns select."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from haloquant.errors import CheckpointError
from haloquant.lm.checkpoint.reader import open_checkpoint

CONFIG = {
    "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
    "num_attention_heads": 2, "vocab_size": 16, "tie_word_embeddings": False,
}  # fmt: skip
SHAPES = {"q": (8, 8), "k": (4, 8), "v": (4, 8), "o": (8, 8), "gate": (12, 8), "up": (12, 8), "down": (8, 12)}
ORDER = ["q", "k", "v", "o", "gate", "up", "down"]


def _name(block: int, layer: str) -> str:
    return f"model.layers.{block}.{'self_attn' if layer in 'qkvo' else 'mlp'}.{layer}_proj"


def _saved(folder: Path, extra: dict[str, np.ndarray] | None = None, **changes: object) -> Path:
    """Two blocks of a small LLaMA; the tensors stand in the file in reverse order."""
    tensors = {f"{_name(b, layer)}.weight": np.ones(SHAPES[layer], np.float32) for b in (1, 0) for layer in ORDER[::-1]}
    for block in (0, 1):
        tensors[f"model.layers.{block}.input_layernorm.weight"] = np.ones(8, np.float32)
    tensors["model.embed_tokens.weight"] = np.zeros((16, 8), np.float32)
    tensors["lm_head.weight"] = np.ones((16, 8), np.float32)
    save_file(tensors | (extra or {}), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    return folder


def test_layers_run_by_block_and_role_and_layers_of_one_input_share_a_group(tmp_path: Path) -> None:
    layers = open_checkpoint(_saved(tmp_path)).layers
    assert [layer.name for layer in layers] == [_name(block, layer) for block in (0, 1) for layer in ORDER]
    assert [layer.group for layer in layers] == [0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 5, 6, 6, 7]
    assert [layer.block for layer in layers] == [0] * 7 + [1] * 7
    assert [(layer.out_features, layer.in_features) for layer in layers[:7]] == [SHAPES[layer] for layer in ORDER]
    assert layers[6].weights == 96


def test_a_bias_belongs_to_its_layer(tmp_path: Path) -> None:
    bias = f"{_name(1, 'o')}.bias"
    layers = open_checkpoint(_saved(tmp_path, {bias: np.zeros(8, np.float32)})).layers
    assert [layer.bias for layer in layers if layer.bias] == [bias]
    assert next(layer.name for layer in layers if layer.bias) == _name(1, "o")


def test_the_head_is_selected_only_by_a_pattern_and_runs_last(tmp_path: Path) -> None:
    folder = _saved(tmp_path)
    layers = open_checkpoint(folder, include=["lm_head", r"layers\.1\.mlp"]).layers
    assert [layer.name for layer in layers] == [*(_name(1, layer) for layer in ("gate", "up", "down")), "lm_head"]
    head = layers[-1]
    assert (head.block, head.out_features, head.group) == (None, 16, layers[-2].group + 1)


def test_a_tied_head_is_no_layer(tmp_path: Path) -> None:
    folder = _saved(tmp_path, tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"one of the 14 linear layers of"):
        open_checkpoint(folder, include=["lm_head"])


def test_patterns_leave_out_what_they_match(tmp_path: Path) -> None:
    layers = open_checkpoint(_saved(tmp_path), exclude=["mlp", r"layers\.0"]).layers
    assert [layer.name for layer in layers] == [_name(1, layer) for layer in "qkvo"]


def test_patterns_that_select_nothing_or_are_none_are_refused(tmp_path: Path) -> None:
    folder = _saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"but include \[\] and exclude \['layers'\] leave none$"):
        open_checkpoint(folder, exclude=["layers"])
    with pytest.raises(CheckpointError, match=r"one of the 15 linear layers of"):
        open_checkpoint(folder, include=["nothing"])
    with pytest.raises(CheckpointError, match=r"^a layer pattern must be a regular expression, not '\(': "):
        open_checkpoint(folder, exclude=["("])


def test_a_name_that_could_lead_out_of_a_folder_is_refused(tmp_path: Path) -> None:
    bad = {"model.layers.0.mlp.up proj.weight": np.ones((2, 2), np.float32)}
    with pytest.raises(CheckpointError, match=r"a layer's name must be up to 200 letters, digits, '_', '-' and '\.'"):
        open_checkpoint(_saved(tmp_path, bad))


def test_weights_of_gpt2_are_stored_from_input_to_output(tmp_path: Path) -> None:
    sizes = {"attn.c_attn": (8, 24), "attn.c_proj": (8, 8), "mlp.c_fc": (8, 32), "mlp.c_proj": (32, 8)}
    tensors = {f"transformer.h.0.{name}.weight": np.ones(shape, np.float32) for name, shape in reversed(sizes.items())}
    save_file(tensors | {"transformer.wte.weight": np.zeros((16, 8), np.float32)}, tmp_path / "model.safetensors")
    config = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    layers = open_checkpoint(tmp_path).layers
    assert [layer.name for layer in layers] == [f"transformer.h.0.{name}" for name in sizes]
    assert [(layer.in_features, layer.out_features, layer.transposed) for layer in layers] == [
        (*shape, True) for shape in sizes.values()
    ]


def test_a_larger_list_of_other_blocks_is_not_the_decoder_of_a_known_family(tmp_path: Path) -> None:
    extra = {f"score.layers.{n}.dense.weight": np.ones((64, 64), np.float32) for n in range(3)}
    found = open_checkpoint(_saved(tmp_path, extra))
    assert [layer.name for layer in found.layers] == [_name(block, layer) for block in (0, 1) for layer in ORDER]
    assert set(extra) <= set(found.others)
