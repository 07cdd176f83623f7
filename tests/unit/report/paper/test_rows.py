"""Numbers as a reader wants them, the count of verdicts, and the report as Markdown."""

import json

import pytest

from haloquant.report.paper.markdown import HEAD, cells, render_paper_markdown
from haloquant.report.paper.rows import ClaimRow, PaperReport, counts, encode_report, number

ROWS = [
    ClaimRow("figure 8", "a | b", "ratio", 1.87, 1.8858, None, "follows from its clocks", "why"),
    ClaimRow("table 2", "c", "models", None, 2.0, None, "partly", "because"),
    ClaimRow("table 2", "d", "share", 0.01, 0.0046, 0.59, "partly", "because"),
]
REPORT = PaperReport(1, ROWS, ["a note"])


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (None, "ratio", "–"),
        (1.8858, "ratio", "1.89×"),
        (0.0046, "share", "0.46%"),
        (0.59, "share", "59%"),
        (265.0, "ps", "265 ps"),
        (1251.3, "ms", "1,251.30 ms"),
    ],
)
def test_numbers_are_said_with_their_unit(value: float | None, unit: str, said: str) -> None:
    assert number(value, unit) == said


def test_verdicts_are_counted_and_rows_have_one_cell_for_each_column() -> None:
    assert counts(ROWS) == {"follows from its clocks": 1, "partly": 2}
    assert all(len(row) == len(HEAD) for row in cells(REPORT))


def test_markdown_has_a_line_for_each_row_and_no_stray_column() -> None:
    lines = render_paper_markdown(REPORT).splitlines()
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 1 + len(ROWS) and {line.count("|") for line in table} == {len(HEAD) + 1}
    assert "- a note" in lines and "1 follows from its clocks, 2 partly." in lines


def test_json_gives_the_rows_back() -> None:
    assert json.loads(encode_report(REPORT))["rows"][2]["fair"] == 0.59
