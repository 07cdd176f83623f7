"""Names of files are printed as they are, with brackets and colons, and never read as markup."""

from io import StringIO

import pytest
from rich.console import Console

from haloquant.cli import console
from haloquant.cli.app import invoke

NAME = "out[/b] [red]:smile: [1].txt"


def test_notes_and_names_in_bold_are_printed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = StringIO()
    monkeypatch.setattr(console.stdout, "_file", lines)
    console.print_notes([f"{NAME} has 1 window"])
    console.stdout.print(console.bold(NAME, ": done"))
    console.stdout.print(f"packed model in {NAME}")
    assert lines.getvalue() == f"note: {NAME} has 1 window\n{NAME}: done\npacked model in {NAME}\n"
    shown = StringIO()
    Console(file=shown, force_terminal=True, color_system="standard").print(console.bold("a", "b"))
    assert shown.getvalue() == "\x1b[1ma\x1b[0mb\n"


def test_an_error_names_a_file_as_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify", f"missing/{NAME}"]) == 2
    assert f"missing/{NAME}" in capfd.readouterr().err
