"""A plain model is evaluated with one block in memory: the same perplexity, and what it cannot do in a sentence."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from haloquant.api.models.evaluation import evaluate
from haloquant.cli.app import invoke
from haloquant.errors import InputError


def test_the_perplexity_is_that_of_the_whole_model(
    tiny_folder: Path, small_text: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for tokens, activations in ((0, "none"), (128, "token")):
        whole = evaluate(tiny_folder, small_text, tokens=tokens, activations=activations, progress=False)
        asked = ["--text", str(small_text), "--tokens", str(tokens), "--activations", activations]
        assert invoke(["evaluate", str(tiny_folder), *asked, "--by-block", "--json", "-q"]) == 0
        found = json.loads(capfd.readouterr().out)
        assert found["perplexity"] == pytest.approx(whole.perplexity, rel=1e-5)
        assert found["standard_error"] == pytest.approx(whole.standard_error, rel=1e-3)
        assert found["bits_per_weight"] == whole.bits_per_weight
        assert found["description"] == f"{whole.description}, one block in memory at a time"


def test_what_it_cannot_do(tiny_folder: Path, layers_alone: Path, small_text: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dtype must be float32 for an evaluation block by block, not bfloat16"):
        evaluate(tiny_folder, small_text, by_block=True, dtype="bfloat16", progress=False)
    with pytest.raises(InputError, match="must be plain, not packed"):
        evaluate(layers_alone, small_text, by_block=True, progress=False)
    (tmp_path / "short.txt").write_text("the ship")
    words = r"^the text of an evaluation block by block must have at least 64 tokens, one window, but .* has 8;"
    with pytest.raises(InputError, match=words):
        evaluate(tiny_folder, tmp_path / "short.txt", by_block=True, progress=False)
