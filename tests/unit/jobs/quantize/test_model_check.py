"""A model is checked in transformers before any work, with a sentence where that is impossible."""

import builtins
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

from haloquant.errors import CheckpointError
from haloquant.jobs.quantize.model_check import UNCHECKED, check_in_transformers
from haloquant.lm.checkpoint.reader import open_checkpoint
from support.tiny_model import save_llama


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_llama(tmp_path / "model")


def rewrite(folder: Path, old: str, new: str) -> Any:
    file = folder / "config.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return open_checkpoint(folder)


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_family_whose_layers_are_known_is_checked_too(folder: Path, calibrated: bool) -> None:
    assert check_in_transformers(open_checkpoint(folder), calibrated) == ()
    with pytest.raises(CheckpointError, match="transformers, but: it knows no hidden_act 'nope'"):
        check_in_transformers(rewrite(folder, '"silu"', '"nope"'), calibrated)


def test_an_unknown_family_is_done_without_calibration_and_said(folder: Path) -> None:
    checkpoint = rewrite(folder, '"model_type": "llama"', '"model_type": "mystery"')
    assert check_in_transformers(checkpoint, False) == (
        "transformers does not know 'mystery': the layers were found by their names and not checked in a model",
    )
    with pytest.raises(CheckpointError, match="must load as a causal model in transformers"):
        check_in_transformers(checkpoint, True)


def test_without_transformers_it_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *more: Any) -> Any:
        if name == "haloquant.lm.model_check":
            raise ImportError(name)
        return load(name, *more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert check_in_transformers(open_checkpoint(folder), False) == (UNCHECKED,)
