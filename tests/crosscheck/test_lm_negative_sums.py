"""Digits until a sum is surely negative: bit by bit in a plain loop, and on a small OPT."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from haloquant.api import compare_multipliers  # noqa: E402
from haloquant.errors import InputError  # noqa: E402
from haloquant.lm.checkpoint.reader import open_checkpoint  # noqa: E402
from haloquant.lm.evaluation.negative_sums import (  # noqa: E402
    DIGITS,
    digits_until_negative,
    layers_before_relu,
    measure_early_negative,
)
from support.model_families import TEXT, save_model, tiny_config  # noqa: E402


def digits_of_one(codes: list[int], weights: list[int], bias: float) -> int:
    """Take the digits of two's complement one by one: the first counts -128, the next 64, 32 ..."""
    total = bias
    for digit in range(DIGITS):
        place = 1 << (DIGITS - 1 - digit)
        ones = [((x % 256) >> (DIGITS - 1 - digit)) & 1 for x in codes]
        total += sum(w * one for w, one in zip(weights, ones, strict=True)) * (-place if digit == 0 else place)
        if total + (place - 1) * sum(w for w in weights if w > 0) < 0:
            return digit + 1
    return DIGITS


def test_digits_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    codes, weights = rng.integers(-127, 128, (20, 6)), rng.integers(-127, 128, (5, 6))
    bias = rng.normal(0, 3000, (20, 5))
    taken, negative = digits_until_negative(codes, weights, bias)
    sums = codes @ weights.T + bias
    assert (negative == (sums < 0)).all() and (taken[~negative] == DIGITS).all()
    for token in range(20):
        for out in range(5):
            assert taken[token, out] == digits_of_one(codes[token].tolist(), weights[out].tolist(), bias[token, out])
    assert set(taken.ravel().tolist()) > {3, DIGITS}


def test_a_model_with_relus_is_counted_and_gets_its_row(tmp_path: Path) -> None:
    folder = tmp_path / "opt"
    save_model(folder, tiny_config("opt"))
    (tmp_path / "text.txt").write_text(TEXT)
    assert [x.name.rpartition(".")[2] for x in layers_before_relu(open_checkpoint(folder))] == ["fc1", "fc1"]
    found = measure_early_negative(folder, tmp_path / "text.txt")
    assert found.layers == 2 and found.sums == 2 * 64 * 96
    assert 0.3 < found.negative_share < 0.7  # a random model: about half
    assert found.digits < found.model_digits < DIGITS
    short = {"prefill_tokens": 8, "context_tokens": 8, "progress": False}
    study = compare_multipliers(folder, relu_text=tmp_path / "text.txt", **short)
    row = next(row for row in study.rows if row.element == "W8A8 bit-serial, early stop")
    assert row.cycles_per_mac == found.model_digits
    assert any(note.startswith(f"early stop: of {found.sums:,} sums before ReLUs in 2 layers") for note in study.notes)


def test_a_model_without_relus_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    save_model(folder, tiny_config("llama"))
    (tmp_path / "text.txt").write_text(TEXT)
    with pytest.raises(InputError, match="a sum stops early only before a ReLU, and this model has silu"):
        measure_early_negative(folder, tmp_path / "text.txt")
