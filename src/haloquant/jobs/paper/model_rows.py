"""Claims of table 2 held against the table of a model with weights (`model_table`)."""

from haloquant.jobs.paper.clock_mix import array_points, relative_time, shares_of_bits
from haloquant.jobs.paper.model_table import GLOBAL, METHODS, ModelRow
from haloquant.report.paper.rows import ClaimRow, Verdict
from haloquant.store.paper_figures import effective_bits, read_perplexities, read_statements, rise

PAPER_MODEL = "llama2-7b"  # whose column the rows stand beside
DIFFERENT = {  # in what a row differs from its authors' method
    GLOBAL: "its authors distil whole blocks by Adam; here each layer alone, in order, with a damping that is chosen "
    "on tokens that did not make the target",
    "zeroquant-local-w4a8": "its authors distil whole blocks by Adam; here each layer alone",
}


def model_rows(model: str, table: list[ModelRow]) -> list[ClaimRow]:
    """Return the claims of table 2 on our model, from its table: text after text, the knee, the sparse share."""
    texts = dict.fromkeys(row.text for row in table)
    rows: list[ClaimRow] = []
    for text in texts:
        rows += _rows_on(f"{model} on {text}", _paper_text(text), [row for row in table if row.text == text])
    return [*rows, *_knee(model, table), *_sparse(model, table)]


def _paper_text(text: str) -> str:
    """Return the paper's text that ours stands beside: C4 where the name of our file says c4, else WikiText-2."""
    return "c4" if "c4" in text.lower() else "wikitext2"


def _rows_on(model: str, paper_text: str, table: list[ModelRow]) -> list[ClaimRow]:
    printed = {(row.method.split(" (")[0], row.tile): row for row in read_perplexities() if row.text == paper_text}
    full, limit = table[0].perplexity, read_statements()["perplexity-rise"].value
    rows: list[ClaimRow] = []
    for row in table[1:]:
        theirs = rise(printed[row.method, row.tile]).get(PAPER_MODEL) if (row.method, row.tile) in printed else None
        ours = row.perplexity - full
        halo = row.method.startswith("halo")
        verdict: Verdict = "not judged" if not halo else "reproduced" if ours < limit else "not reproduced"
        where = f" at tile {row.tile}" if row.tile else ""
        error = "" if row.error is None else f" (± {row.error:.2f})"
        counted = f", which the paper counts as {row.paper_bits:.2f}" if row.tile else ""
        column = (
            f"; the paper's column is {PAPER_MODEL} on {paper_text}"
            if theirs is not None
            else "; the paper has no such row"
        )
        different = f"; {DIFFERENT[row.method]}" if row.method in DIFFERENT else ""
        why = (
            f"perplexity {row.perplexity:.2f} over {full:.2f}{error} at {row.stored_bits:.2f} stored bits{counted}"
            f"{column}{different}"
        )
        claim = f"{model}: rise of perplexity by {row.method}{where}"
        rows.append(ClaimRow("table 2", claim, "perplexity", theirs, ours, None, verdict, why))
    made = {row.method.split()[0] for row in table}
    return [*rows, *(_small_tiles(model, paper_text, table, name) for name in METHODS if name in made)]


def _small_tiles(model: str, paper_text: str, table: list[ModelRow], rounding: str) -> ClaimRow:
    """Return the row on tiles of 32 against 128, in *bal* and, where only the scales differ, in *perf-opt*."""
    found = {(row.method, row.tile): row for row in table}
    large, small = found[f"{rounding} bal", 128], found[f"{rounding} bal", 32]
    better, fewer = small.perplexity < large.perplexity, small.stored_bits < large.stored_bits
    speed = _time(large) / _time(small)
    true = (better, speed > 1, fewer)
    verdict: Verdict = "reproduced" if all(true) else "partly" if any(true) else "not reproduced"
    fast_large, fast_small = found[f"{rounding} perf-opt", 128], found[f"{rounding} perf-opt", 32]
    why = (
        f"tile 32: perplexity {small.perplexity:.2f} at {small.stored_bits:.2f} stored bits ({small.paper_bits:.2f} "
        f"the paper's way); tile 128: {large.perplexity:.2f} at {large.stored_bits:.2f} ({large.paper_bits:.2f}). By "
        f"the clocks alone tiles of 32 are {speed:.2f} times as fast. With all tiles fast, where only the scales "
        f"differ, tiles of 32 have {fast_small.perplexity:.2f} and tiles of 128 {fast_large.perplexity:.2f}: a scale "
        f"for every 32 weights gains this, and costs {fast_small.stored_bits - fast_large.stored_bits:.2f} bits that "
        "the paper does not count"
    )
    printed = {row.tile: row for row in read_perplexities() if row.method == "halo bal" and row.text == paper_text}
    theirs = printed[32].perplexity[PAPER_MODEL] / printed[128].perplexity[PAPER_MODEL]
    how = "the paper's rounding" if rounding == "halo" else "our rounding"
    claim = f"{model}: tiles of 32 are faster and more accurate at fewer bits, {how} (perplexity over tiles of 128)"
    return ClaimRow("table 2", claim, "ratio", theirs, small.perplexity / large.perplexity, None, verdict, why)


def _time(row: ModelRow) -> float:
    return relative_time(shares_of_bits(row.paper_bits), array_points())


def _knee(model: str, table: list[ModelRow]) -> list[ClaimRow]:
    bal = next((row for row in table if (row.method, row.tile) == ("halo bal", 128)), None)
    if bal is None:
        return []
    published = effective_bits("bal", 128)
    low, high = min(published.values()), max(published.values())
    verdict: Verdict = "reproduced" if low <= bal.paper_bits <= high else "partly"
    why = (
        f"the knee of predicted loss over time on the path of the paper's rule; the paper's four models have {low:g} "
        f"to {high:g} bits, from perplexities of whole models"
    )
    claim = f"{model}: effective bits of bal, the knee of figure 9"
    return [ClaimRow("figure 9", claim, "bits", published[PAPER_MODEL], bal.paper_bits, None, verdict, why)]


def _sparse(model: str, table: list[ModelRow]) -> list[ClaimRow]:
    """Return the row on the share of salient weights and outliers, which no class and no tile changes."""
    row = next((row for row in table if row.method.startswith("halo ") and row.sparse), None)
    if row is None:
        return []
    said = read_statements()["sparse-share"]
    over = sum(share > said.value for share in row.sparse)
    below = row.sparse_share < said.value
    verdict: Verdict = "reproduced" if below and not over else "partly" if below else "not reproduced"
    why = (
        f"the salient weights and what lies beyond three standard deviations of the rest; {over} of {len(row.sparse)} "
        f"layers have more than the text allows, the most {max(row.sparse):.2%}. Of normally distributed weights "
        "0.27 % lie that far out"
    )
    claim = f"{model}: {said.text}"
    return [ClaimRow(said.where, claim, "share", said.value, row.sparse_share, None, verdict, why)]
