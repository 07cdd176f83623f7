"""Write the report on the paper as Markdown."""

from haloquant.report.paper.rows import PaperReport, counts, number

HEAD = ("where", "claim", "paper", "ours, its premises", "ours, fair machines", "verdict", "why")


def cells(report: PaperReport) -> list[tuple[str, ...]]:
    """Return the cells of every row as text."""
    return [
        (
            row.place,
            row.claim,
            number(row.paper, row.unit),
            number(row.ours, row.unit),
            number(row.fair, row.unit),
            row.verdict,
            row.why,
        )
        for row in report.rows
    ]


def render_paper_markdown(report: PaperReport) -> str:
    """Return the report as Markdown text."""
    lines = [
        "# The HALO paper, claim by claim",
        "",
        ", ".join(f"{count} {verdict}" for verdict, count in counts(report.rows).items()) + ".",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(part.replace("|", "/") for part in row) + " |" for row in cells(report)),
        "",
        "## Notes",
        "",
        *(f"- {text}" for text in report.notes),
        "",
    ]
    return "\n".join(lines)
