"""The issue's aims with their figures, each decided by two standard errors of a difference taken window by window."""

from typing import Any

from ablation_table import difference

BOOKS = "books"
SIXTEEN, NINE, BAL = "halo-16 refined, no sparse", "halo-9 refined, no sparse", "halo-bal least loss"
Rows = dict[str, Any]


def verdict(gap: float, error: float) -> str:
    """What a difference says, at two standard errors."""
    return "better" if gap + 2 * error < 0 else "worse" if gap - 2 * error > 0 else "no difference to be seen"


def signed(gap: float, error: float) -> str:
    return f"{gap:+.2f} ± {error:.2f}"


def aims(sets: dict[str, Any]) -> str:
    """Every aim: on the whole text where its rows are there, else on the longer sample."""
    lines = ["| aim | difference | verdict | figures | text |", "|---|---|---|---|---|"]
    for aim, ours, theirs in (
        ("16 words, compensated, against GPTQ int4 g128", SIXTEEN, "gptq-w4-g128"),
        ("9 words against GPTQ int3 g128", NINE, "gptq-w3-g128"),
        ("9 words against GPTQ int3 g64, at nearly equal bits", NINE, "gptq-w3-g64"),
        ("9 words against SqueezeLLM 3-bit", NINE, "squeezellm-w3"),
        ("9 words against SliM-LLM 3-bit g128", NINE, "slim-w3-g128"),
        ("9 words against BoA int3 g128", NINE, "boa-w3-g128"),
    ):
        rows, text = judge(sets, ours, theirs)
        gap = difference(rows, ours, theirs, BOOKS)
        figures = " against ".join(
            f"{rows[n][BOOKS]['perplexity']:.2f} at {rows[n]['bits']:.2f} bits" for n in (ours, theirs)
        )
        lines.append(f"| {aim} | {signed(*gap)} | {verdict(*gap)} | {figures} | {text} |")
    rows, text = judge(sets, BAL)
    found, full = rows[BAL][BOOKS], rows["full precision"][BOOKS]
    for kind, suffix in (("", ""), (", with 8-bit activations on both sides", "_a8")):
        if f"nll_by_window{suffix}" not in found:
            continue
        rise, error = difference(rows, BAL, "full precision", BOOKS, suffix)
        met = "met" if rise + 2 * error < 0.5 else "missed" if rise - 2 * error > 0.5 else "at the limit"
        lines.append(
            f"| *bal* within 0.5 of full precision{kind} | {rise:+.3f} ± {error:.3f} | {met} | "
            f"{found['perplexity' + suffix]:.2f} at {rows[BAL]['bits']:.2f} bits against "
            f"{full['perplexity' + suffix]:.2f} | {text} |"
        )
    return "\n".join(lines)


def judge(sets: dict[str, Any], *names: str) -> tuple[Rows, str]:
    """The rows that decide between these: of the whole text where it has them, else of the longer sample."""
    whole = sets["whole"]["rows"]
    if all(BOOKS in whole.get(name, {}) for name in ("full precision", *names)):
        return whole, "whole"
    return sets["long"]["rows"], "longer sample"
