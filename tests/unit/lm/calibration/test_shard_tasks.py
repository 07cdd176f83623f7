"""A worker keeps its model only while the checkpoint's files are the same."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from haloquant.lm.calibration.shard_tasks import ModelSource, model_source
from haloquant.lm.checkpoint.reader import open_checkpoint
from support.hostile_files import CONFIG, ROLES


def source(folder: Path, windows: np.ndarray) -> ModelSource:
    return model_source(open_checkpoint(folder), windows)


def save(folder: Path, value: float) -> None:
    arrays = {f"model.layers.0.{role}.weight": np.full(shape, value, np.float32) for role, shape in ROLES.items()}
    save_file(arrays | {"model.embed_tokens.weight": np.ones((16, 8), np.float32)}, folder / "model.safetensors")


def test_a_model_source_changes_with_weights_of_the_same_layout_and_stays_without_a_change(tmp_path: Path) -> None:
    windows = np.arange(8).reshape(2, 4)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save(tmp_path, 1.0)
    first = source(tmp_path, windows)
    assert source(tmp_path, windows) == first
    save(tmp_path, 2.0)
    assert source(tmp_path, windows) != first
    second = source(tmp_path, windows)
    assert source(tmp_path, windows + 1) != second
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"rms_norm_eps": 1e-3}))
    assert source(tmp_path, windows) != second
