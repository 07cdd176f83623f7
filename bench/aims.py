"""Check the accuracy aims: each is decided by two standard errors of a difference that is taken window by window."""

from typing import Any

from ablation_table import difference, signed

BOOKS = "books"
SIXTEEN, NINE, BAL = "halo-16 refined, no sparse", "halo-9 refined, no sparse", "halo-bal least loss"
Rows = dict[str, Any]


def verdict(gap: float, error: float) -> str:
    """What a difference says, at two standard errors."""
    return "better" if gap + 2 * error < 0 else "worse" if gap - 2 * error > 0 else "no difference to be seen"


def aims(*sources: tuple[str, Rows]) -> str:
    """Every aim that some rows decide: of the named sources, the first that has all of its rows on books."""
    lines = ["| aim | difference | verdict | figures | text |", "|---|---|---|---|---|"]
    for aim, ours, theirs in (
        ("16 words, compensated, against GPTQ int4 g128", SIXTEEN, "gptq-w4-g128"),
        ("9 words against GPTQ int3 g128", NINE, "gptq-w3-g128"),
        ("9 words against GPTQ int3 g64, at nearly equal bits", NINE, "gptq-w3-g64"),
        ("9 words against SqueezeLLM 3-bit", NINE, "squeezellm-w3"),
        ("9 words against SliM-LLM 3-bit g128", NINE, "slim-w3-g128"),
        ("9 words against BoA int3 g128", NINE, "boa-w3-g128"),
    ):
        if (found := judge(sources, ours, theirs)) is None:
            continue
        text, rows = found
        gap = difference(rows, ours, theirs, BOOKS)
        figures = " against ".join(
            f"{rows[n][BOOKS]['perplexity']:.2f} at {rows[n]['bits']:.2f} bits" for n in (ours, theirs)
        )
        lines.append(f"| {aim} | {signed(*gap)} | {verdict(*gap)} | {figures} | {text} |")
    if (found := judge(sources, BAL)) is None:
        raise KeyError(BAL)
    text, rows = found
    mine, full = rows[BAL][BOOKS], rows["full precision"][BOOKS]
    for kind, suffix in (("", ""), (", with 8-bit activations on both sides", "_a8")):
        if f"nll_by_window{suffix}" not in mine:
            continue
        rise, error = difference(rows, BAL, "full precision", BOOKS, suffix)
        met = "met" if rise + 2 * error < 0.5 else "missed" if rise - 2 * error > 0.5 else "at the limit"
        lines.append(
            f"| *bal* within 0.5 of full precision{kind} | {signed(rise, error)} | {met} | "
            f"{mine['perplexity' + suffix]:.2f} at {rows[BAL]['bits']:.2f} bits against "
            f"{full['perplexity' + suffix]:.2f} | {text} |"
        )
    return "\n".join(lines)


def judge(sources: tuple[tuple[str, Rows], ...], *names: str) -> tuple[str, Rows] | None:
    """The first source that has these rows and that of full precision, with its name."""
    for text, rows in sources:
        if all(BOOKS in rows.get(name, {}) for name in ("full precision", *names)):
            return text, rows
    return None
