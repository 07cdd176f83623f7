"""What `progress=` accepts, and what it shows."""

import pytest

from haloquant.api import progress
from haloquant.errors import InputError


def test_false_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.reporting(False) as report:
        report("task", 1, 1)
    assert capsys.readouterr() == ("", "")


def test_true_writes_lines_to_standard_error_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, 1.0, 6.0, 12.0, 13.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with progress.reporting(True) as report:
        for done in (0, 1, 2, 4, 4):
            report("pack", done, 4)
    shown = capsys.readouterr()
    assert shown.out == ""
    # Nothing in the first five seconds; then what is left at the rate so far; the end once.
    assert shown.err.splitlines() == ["pack: 2 of 4, about 6 s left", "pack: done in 12.0 s"]


def test_a_callable_is_called_with_each_report() -> None:
    calls: list[tuple[str, int, int]] = []
    with progress.reporting(lambda *call: calls.append(call)) as report:
        report("pack", 1, 2)
    assert calls == [("pack", 1, 2)]


@pytest.mark.parametrize("wrong", [3, None, "yes", 1, 0])
def test_anything_else_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match=r"progress must be True, False or a callable of \(task, done, total\), not"):
        progress.reporting(wrong)
