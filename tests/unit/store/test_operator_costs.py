"""Measured costs of products: what is written is read again, and what is malformed is refused in a sentence."""

from pathlib import Path

import pytest

from haloquant.errors import InputError
from haloquant.records.operator_costs import OperatorRow, OperatorTable
from haloquant.store.operator_costs import MAX_BYTES, read_operator_table, write_operator_table

ROW = OperatorRow(16, 32, "nine", 8, 2e-6, 1e-6, 3e-6, None, 300)
TABLE = OperatorTable("m", "cpu", 2, 128, 0.005, 9, "", (ROW, OperatorRow(16, 32, "half", 8, 2e-6, 1e-6, 3e-6, 0.5, 9)))


def test_a_table_comes_back(tmp_path: Path) -> None:
    write_operator_table(tmp_path / "ops.json", TABLE)
    assert read_operator_table(tmp_path / "ops.json") == TABLE


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"format": 1', '"format": 2', r"format of .* must be 1, not 2"),
        ('"median_s": 2e-6', '"median_s": -1.0', r"measure-ops` wrote: .*rows\[0\]\.median_s"),
        ('"mix": "half"', '"mix": "third"', "Invalid enum value 'third'"),
        ('"mix": "half"', '"mix": "nine"', "16 x 32 weights, nine words and batch 8 is there twice"),
        ('"threads": 2', '"threads": 2, "speed": 1', "unknown field `speed`"),
        ('"rows"', '"lines"', "unknown field `lines`"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    write_operator_table(tmp_path / "ops.json", TABLE)
    text = (tmp_path / "ops.json").read_text()
    assert old in text
    (tmp_path / "ops.json").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        read_operator_table(tmp_path / "ops.json")


def test_a_file_that_is_none_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a file"):
        read_operator_table(tmp_path / "none.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"large\.json must"):
        read_operator_table(tmp_path / "large.json")
