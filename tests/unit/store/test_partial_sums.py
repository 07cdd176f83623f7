"""Files of partial-sum statistics."""

import json
from pathlib import Path

import numpy as np
import pytest

from haloquant.circuits.simulation.partial_sums import summarize_partial_sums
from haloquant.errors import InputError
from haloquant.store.partial_sums import DEMO_FILE, FORMAT, read_partial_sums, write_partial_sums


def correlated(count: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Pairs that follow one another with a correlation of 0.8, an eighth of them 0."""
    rng = np.random.default_rng(3)
    first = rng.normal(size=count)
    second = 0.8 * first + 0.6 * rng.normal(size=count)
    still = rng.random(count) < 1 / 8
    before, after = (np.where(still, 0, np.round(1000 * x)).astype(np.int64) for x in (first, second))
    return before, after


def test_a_file_comes_back_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    made = summarize_partial_sums(*correlated(2000), weight_bits=4, activation_bits=8, source="a test")
    write_partial_sums([made], tmp_path / "sums.json")
    (read,) = read_partial_sums(tmp_path / "sums.json")
    np.testing.assert_array_equal(read.quantile, made.quantile)
    np.testing.assert_allclose(read.joint, made.joint, rtol=1e-5)
    assert (read.source, read.weight_bits, read.activation_bits) == ("a test", 4, 8)
    for text, said in (
        ("{", "must be a file of partial-sum statistics: "),
        ('{"format": "other", "sums": []}', f"must have the format {FORMAT}, not 'other'"),
        (entry(quantile=[0, 2**60]), "must be a file of partial-sum statistics: "),
        (entry(joint=[[1.0, 2.0]]), "must hold as many joint chances in every row as there are rows"),
    ):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=said):
            read_partial_sums(tmp_path / "bad.json")


def entry(**changed: object) -> str:
    """A file of one entry."""
    known = {"source": "", "weight_bits": 8, "activation_bits": 8, "quantile": [0, 1], **changed}
    return json.dumps({"format": FORMAT, "sums": [known]})


def test_what_is_shipped_was_measured_on_the_demo_model() -> None:
    eight, four = read_partial_sums(DEMO_FILE)
    assert (eight.weight_bits, four.weight_bits) == (8, 4)
    assert "linear layers of demo/model" in eight.source
    assert eight.joint.shape == (16, 16) and eight.joint.trace() > 1.2 / 16  # one follows the other, somewhat
    assert DEMO_FILE.stat().st_size < 16_000
