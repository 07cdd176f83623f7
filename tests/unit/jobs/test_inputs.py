"""Inputs of a job: the window of a model, and its texts."""

import json
from pathlib import Path

import numpy as np
import pytest

from haloquant.errors import CheckpointError, RecipeError
from haloquant.jobs import inputs
from haloquant.jobs.inputs import model_window, read_inputs, read_text
from haloquant.recipe import Recipe, Text


@pytest.mark.parametrize("value", [-5, "long", 0.5, [1]])
def test_a_window_is_a_positive_number(value: object, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": value}))
    with pytest.raises(CheckpointError, match=r"a positive (number of positions|max_position_embeddings), not "):
        model_window(tmp_path)


def test_the_key_of_a_text_holds_its_characters_and_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")

    def key(text: str, tokens: list[int]) -> tuple[str, ...]:
        (tmp_path / "text.txt").write_text(text)
        monkeypatch.setattr(inputs, "tokenize", lambda folder, text: np.array(tokens))
        return tuple(read_text(tmp_path, str(tmp_path / "text.txt"), "calibration").key())

    assert key("a", [1, 2]) == key("a", [1, 2])
    assert len({key("a", [1, 2]), key("b", [1, 2]), key("a", [2, 1])}) == 3


def test_a_job_without_calibration_is_refused() -> None:
    sentence = r"^text.calibration must be `demo` or a .txt or .xz file, not none, .*quantize --calibration none` makes"
    with pytest.raises(RecipeError, match=sentence):
        read_inputs(Recipe(text=Text(calibration="none")))
