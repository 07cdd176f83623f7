"""Platform files and tables of products: what is written is read again, what is malformed is refused in a sentence."""

from pathlib import Path

import pytest

from haloquant.errors import InputError, TargetError
from haloquant.records.operator_costs import OperatorRow, OperatorTable
from haloquant.store.platforms import (
    MAX_TABLE_BYTES,
    parse_platform,
    read_operator_table,
    read_platform,
    shipped_platforms,
    write_operator_table,
)

GOOD = """
format = 1
name = "a"
device = "b"
bandwidth_b_per_s = 1e9
memory_b = 1e9
reference = "x"
source = "c"
status = "measured"
rows = [{ model = "m", format = "x", read_b = 1e8, tok_s = 5.0 }]
"""


def test_every_shipped_platform_is_sound() -> None:
    assert shipped_platforms() == ("rpi5_llmpi",)
    found = read_platform("rpi5_llmpi")
    assert len(found.rows) == 25 and found.status == "cited"
    assert parse_platform(GOOD.encode()).rows[0].tok_per_j is None


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("format = 1", "format = 2", "format must be 1, not 2"),
        ("tok_s = 5.0", "tok_s = -5.0", r"platform in TOML: .*rows\[0\]\.tok_s"),
        ("tok_s = 5.0", "tok_s = 5.0, speed = 1", "unknown field `speed`"),
        ('"measured"', '"guessed"', "Invalid enum value 'guessed'"),
        ("}]", '}, { model = "m", format = "x", read_b = 1.0, tok_s = 1.0 }]', "and m in x is there twice"),
        ("rows = [", "rows = [[", "platform file must hold a platform in TOML"),
    ],
)
def test_a_malformed_file_is_refused(old: str, new: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence):
        parse_platform(GOOD.replace(old, new).encode())


def test_an_unknown_name_or_file_is_refused(tmp_path) -> None:
    with pytest.raises(TargetError, match=r"platform must be one of rpi5_llmpi or the path of a \.toml file, not 'x'"):
        read_platform("x")
    with pytest.raises(TargetError, match=r"a platform must be a file, but .*x\.toml does not exist$"):
        read_platform(tmp_path / "x.toml")
    (tmp_path / "x.toml").write_text("[[x]]")
    with pytest.raises(TargetError, match=r"x\.toml: platform file must hold a platform in TOML: "):
        read_platform(tmp_path / "x.toml")


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
def test_a_malformed_table_of_products_is_refused(tmp_path: Path, old: str, new: str, sentence: str) -> None:
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
        file.truncate(MAX_TABLE_BYTES + 1)
    with pytest.raises(InputError, match=r"large\.json must"):
        read_operator_table(tmp_path / "large.json")
