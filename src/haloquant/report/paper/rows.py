"""One row for each claim of the HALO paper: its number, ours, and the verdict."""

from typing import Literal

import msgspec

REPORT_VERSION = 1

PLACES = (
    "abstract", "method", "results", "table 1", "table 2", "figure 3", "figure 4", "figure 5", "figure 6", "figure 7",
    "figure 8", "figure 9", "figure 10", "figure 11", "figure 12", "figure 13",
)  # fmt: skip

# `follows` is for numbers that repeat the paper's own arithmetic: they show that its figures agree with its clocks or
# with its other figures, and nothing about a machine or a model.
Verdict = Literal["reproduced", "partly", "not reproduced", "follows from its clocks", "consistent", "not judged"]


class ClaimRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One claim.

    Attributes:
        place: Table, figure or part of the text.
        claim: What is claimed, in our words.
        unit: Unit of the three numbers; "ratio" and "share" have none.
        paper: The paper's number; None where it prints none.
        ours: Our number under the paper's premises; None where there is none.
        fair: Our number where every system runs on its own best hardware; None where the claim has no such side.
        verdict: What comes of it.
        why: The reason, in one or two sentences.
    """

    place: str
    claim: str
    unit: str
    paper: float | None
    ours: float | None
    fair: float | None
    verdict: Verdict
    why: str


class PaperReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All rows, and notes on how they were made."""

    version: int
    rows: list[ClaimRow]
    notes: list[str]


def encode_report(report: PaperReport) -> bytes:
    """Return the report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def number(value: float | None, unit: str) -> str:
    """Return a number with its unit as a reader wants it: `1.87×`, `0.94 %`, `3.73 GHz`, or a dash for None."""
    if value is None:
        return "–"
    if unit == "ratio":
        return f"{value:.2f}×"
    if unit == "share":
        return f"{value:.2%}" if abs(value) < 0.1 else f"{value:.0%}"
    digits = f"{value:.0f}" if value == int(value) else f"{value:,.2f}"
    return f"{digits} {unit}"


def counts(rows: list[ClaimRow]) -> dict[str, int]:
    """Return how many rows have each verdict, in the order of their first row."""
    return {verdict: sum(row.verdict == verdict for row in rows) for verdict in dict.fromkeys(r.verdict for r in rows)}
