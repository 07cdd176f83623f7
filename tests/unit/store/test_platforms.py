"""Platform files: what is malformed is refused in a sentence."""

import pytest

from haloquant.errors import TargetError
from haloquant.store.platforms import parse_platform, read_platform, shipped_platforms

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
    with pytest.raises(TargetError, match="platform file must exist"):
        read_platform(tmp_path / "x.toml")
