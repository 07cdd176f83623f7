"""The script that runs the commands of the documentation finds them, and judges how they end."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parents[2] / "scripts/documented_commands.py"
_spec = importlib.util.spec_from_file_location("documented_commands", _PATH)
assert _spec is not None and _spec.loader is not None
documented = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = documented  # dataclasses look their module up
_spec.loader.exec_module(documented)


def test_commands_are_found_without_their_comments() -> None:
    found = {command.text: command.page for command in documented.commands()}
    assert found["haloquant quantize path/to/model --out model-halo"] == "README.md"
    assert found["haloquant run --example > recipe.toml"] == "docs/start.md"
    assert not any("#" in text for text in found)
    page = "```toml\na = 1\n```\n```console\n$ one --two \\\n  --three  # why\n\n# a comment\n```\ntext\n"
    assert list(documented._shell_lines(page)) == [(6, "one --two --three")]


def test_every_entry_of_the_list_of_what_is_not_run_still_leaves_out_a_command() -> None:
    texts = [command.text for command in documented.commands()]
    for pattern in documented.NOT_RUN:
        assert any(re.search(pattern, text) for text in texts), pattern


@pytest.mark.parametrize(
    ("code", "said", "where", "wrong"),
    [
        (0, "", "full", ""),
        (1, "Traceback (most recent call last):", "core", "shows a traceback"),
        (5, "this needs torch: pip install 'haloquant[lm]'", "core", ""),
        (5, "this needs torch", "core", "names no extra"),
        (5, "this needs torch: pip install 'haloquant[lm]'", "full", "ends with exit code 5"),
        (2, "no such file", "core", "ends with exit code 2"),
    ],
)
def test_how_a_command_may_end(code: int, said: str, where: str, wrong: str) -> None:
    assert documented.judge(code, said, where) == wrong
