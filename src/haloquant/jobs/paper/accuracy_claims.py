"""Accuracy: what table 2 and figure 9 say about themselves. Rows on a real model come from `model_rows`."""

from haloquant.jobs.paper.clock_mix import array_points, relative_time, shares_of_bits
from haloquant.report.paper.rows import ClaimRow, Verdict
from haloquant.store.paper_figures import effective_bits, read_perplexities, read_statements, rise

TEXT = "wikitext2"  # the text that most publications report, and figure 9


def table_rows() -> list[ClaimRow]:
    """Return the rows on table 2 that need no model: they compare its numbers with each other and with the text."""
    return [*_rows_on(TEXT), *_rows_on("c4"), _balanced()]


def _rows_on(text: str) -> list[ClaimRow]:
    said, rows = read_statements(), []
    limit = said["perplexity-rise"].value
    by_name = {(row.method, row.tile): row for row in read_perplexities() if row.text == text}
    for goal, tile in (("perf-opt", 128), ("acc-opt", 128), ("bal", 128), ("bal", 64), ("bal", 32)):
        rises = rise(by_name[f"halo {goal}", tile])
        below = sum(value < limit for value in rises.values())
        listed = ", ".join(f"{model} +{value:.2f}" for model, value in rises.items())
        claim = f"{goal} at tile {tile} on {text}: models whose perplexity rises by less than {limit:g}, of four"
        verdict: Verdict = "consistent" if below > 2 else "partly" if below == 2 else "not reproduced"
        rows.append(ClaimRow("table 2", claim, "models", None, float(below), None, verdict, listed))
    fine, coarse = rise(by_name["halo bal", 32]), rise(by_name["halo bal", 128])
    better = sum(fine[model] < coarse[model] for model in fine)
    fewer = sum(effective_bits("bal", 32)[m] < effective_bits("bal", 128)[m] for m in fine)
    small, large = effective_bits("bal", 32)["llama2-7b"], effective_bits("bal", 128)["llama2-7b"]
    claim = f"tiles of 32 are more accurate than tiles of 128 at fewer bits on {text}, models of four"
    rows.append(
        ClaimRow("table 2", claim, "models", 4.0, float(min(better, fewer)), None,
                 "consistent" if min(better, fewer) == 4 else "partly",
                 "so the table says; its bits leave out scales, of which a tile of 32 has four times as many. With "
                 f"a 16-bit scale for each output row of a tile, {small:.2f} bits are {small + 16 / 32:.2f} and "
                 f"{large:.2f} are {large + 16 / 128:.2f}")
    )  # fmt: skip
    return rows


def _balanced() -> ClaimRow:
    """Return the row on figure 9: whether bal lies below the straight line from perf-opt to acc-opt."""
    by_goal = {row.method: row for row in read_perplexities() if row.text == TEXT and row.tile == 128}
    models, gains = list(effective_bits("bal", 128)), dict[str, float]()
    for model in models:
        fast, own, slow = (
            (relative_time(shares_of_bits(row.bits[model]), array_points()), row.perplexity[model])
            for row in (by_goal[f"halo {goal}"] for goal in ("perf-opt", "bal", "acc-opt"))
        )
        line = fast[1] + (slow[1] - fast[1]) * (own[0] - fast[0]) / (slow[0] - fast[0])
        gains[model] = line - own[1]
    below = sum(gain > 0 for gain in gains.values())
    verdict: Verdict = "consistent" if below == len(models) else "partly" if below else "not reproduced"
    listed = ", ".join(f"{model} {gain:+.2f}" for model, gain in gains.items())
    return ClaimRow(
        "figure 9", "bal is a knee: it lies below the straight line from perf-opt to acc-opt, models of four", "models",
        float(len(models)), float(below), None, verdict,
        f"perplexity of the line less that of bal at the same time, by table 2's perplexities and bits: {listed}. The "
        "rest of the curve is not published as numbers; `haloquant explore` marks the knee of a model's measured "
        "points, and --model adds the row",
    )  # fmt: skip
