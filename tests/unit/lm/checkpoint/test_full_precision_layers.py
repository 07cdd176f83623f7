"""What stays in full precision is named, with the reason."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from haloquant.lm.checkpoint.full_precision_layers import left_layers, left_notes
from haloquant.lm.checkpoint.reader import open_checkpoint

SQUARE = (
    "layers.0.attn.q_proj", "layers.0.mlp.gate", "layers.0.mlp.experts.0.up_proj", "layers.0.mlp.experts.1.up_proj",
    "layers.1.attn.q_proj", "layers.1.mlp.gate", "layers.2.eh_proj", "vision_tower.layers.0.fc1", "lm_head",
    "connector", "other.layers.0.up_proj",
)  # fmt: skip


def test_every_matrix_that_is_left_has_a_reason(tmp_path: Path) -> None:
    tensors = {f"{'' if name == 'lm_head' else 'model.'}{name}.weight": np.ones((8, 8), np.float32) for name in SQUARE}
    tensors["model.embed_tokens.weight"] = np.ones((16, 8), np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    config = {"model_type": "mystery", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    left = left_layers(open_checkpoint(tmp_path, exclude=["up_proj"]))
    assert {layer.name: layer.reason for layer in left} == {
        "model.layers.0.mlp.experts.0.up_proj": "excluded by a pattern",
        "model.layers.0.mlp.experts.1.up_proj": "excluded by a pattern",
        "lm_head": "the output head",
        "model.layers.0.mlp.gate": "routers and gates of experts",
        "model.layers.1.mlp.gate": "routers and gates of experts",
        "model.layers.2.eh_proj": "behind the last of 2 blocks",
        "model.vision_tower.layers.0.fc1": "not in the decoder of text",
        "model.connector": "outside the decoder blocks",
        "model.other.layers.0.up_proj": "outside the decoder blocks",
    }
    notes = left_notes(left)
    assert "2 left in full precision, excluded by a pattern: model.layers.*.mlp.experts.*.up_proj (2)" in notes
    assert "1 left in full precision, the output head: lm_head" in notes
