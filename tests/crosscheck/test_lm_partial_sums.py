"""Partial sums measured in a model's layers, against sums of products of the same codes in a plain loop."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from haloquant.api import measure_partial_sums  # noqa: E402
from haloquant.cli.app import invoke  # noqa: E402
from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint, read_weight  # noqa: E402
from haloquant.lm.evaluation import partial_sums  # noqa: E402
from haloquant.lm.text import load_text, tokenize  # noqa: E402
from haloquant.lm.torch_model import load_model  # noqa: E402
from haloquant.store.partial_sums import read_partial_sums  # noqa: E402

pytestmark = pytest.mark.usefixtures("offline")
LAYER = "model.layers.0.self_attn.q_proj"


def test_every_sum_occurs_in_a_plain_loop_over_the_rows(
    find_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One layer, 8 rows and one window: all sums that a MAC can receive are listed, and the draws are among them."""
    folder = find_data("models/stories260K")
    text = tmp_path / "text.txt"
    text.write_text(load_text(find_data("text/tinystories_valid.txt.xz"))[:600])
    for name, value in {"ROWS": 8, "WINDOW": 16, "WINDOWS": 1, "COLUMNS": 200}.items():
        monkeypatch.setattr(partial_sums, name, value)
    checkpoint = open_checkpoint(folder, include=[LAYER])
    monkeypatch.setattr(partial_sums, "open_checkpoint", lambda _: checkpoint)
    found = partial_sums.measure_partial_sums(folder, text)

    seen: list[np.ndarray] = []
    model = load_model(folder)
    model.get_submodule(LAYER).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().numpy()))
    with torch.no_grad():
        model(input_ids=torch.from_numpy(tokenize(folder, text.read_text())[None, :16]))
    inputs = seen[0][0]
    codes = np.round(inputs / (np.abs(inputs).max(axis=1, keepdims=True) / 127)).astype(int)
    weight = read_weight(checkpoint, checkpoint.layers[0])
    for each, top in zip(found, (127, 7), strict=True):
        rounded = np.round(weight / (np.abs(weight).max(axis=1, keepdims=True) / top)).astype(int)
        pairs: set[tuple[int, int]] = set()
        for row in rounded:
            for first in range(0, row.size, 8):
                sums = np.zeros(16, int)
                for i in range(first, min(first + 8, row.size)):
                    pairs |= set(zip(sums[:-1].tolist(), sums[1:].tolist(), strict=True))
                    sums = sums + codes[:, i] * row[i]
        drawn = set(zip(each.before.tolist(), each.after.tolist(), strict=True))
        assert drawn <= pairs and len(drawn) > 1000
        assert each.sums.quantile[0] == min(min(pair) for pair in drawn)
        assert each.sums.quantile[-1] == max(max(pair) for pair in drawn)


def test_the_command_writes_what_characterize_reads(
    find_data: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(find_data("models/stories260K")), tmp_path / "sums.json"
    text = tmp_path / "text.txt"
    text.write_text(load_text(find_data("text/tinystories_valid.txt.xz"))[:3000])
    assert invoke(["partial-sums", folder, "--text", str(text), "--out", str(out), "--quiet"]) == 0
    read = read_partial_sums(out)
    assert [(each.weight_bits, each.activation_bits) for each in read] == [(8, 8), (4, 8)]
    assert "weights of 4 bits: " in capsys.readouterr().out and "text.txt" in read[0].source
    again = measure_partial_sums(folder, text, progress=False)
    np.testing.assert_array_equal(again[1].quantile, read[1].quantile)
    assert json.loads(out.read_bytes())["format"] == "haloquant-partial-sums-1"
    text.write_text("Too short.")
    with pytest.raises(InputError, match=r"text.txt must have at least 256 tokens, one window, and has "):
        measure_partial_sums(folder, text, progress=False)
