"""Inputs of a job: the window of a model."""

import json
from pathlib import Path

import pytest

from haloquant.errors import CheckpointError
from haloquant.jobs.inputs import model_window


@pytest.mark.parametrize("value", [-5, "long", 0.5, [1]])
def test_a_window_is_a_positive_number(value: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": value}))
    with pytest.raises(CheckpointError, match=r"must give a positive number of positions, not "):
        model_window(tmp_path)
