"""Claims of table 2 on a model, from a made-up table."""

from dataclasses import replace

import pytest

from haloquant.jobs.paper.clock_mix import array_points, relative_time, shares_of_bits
from haloquant.jobs.paper.model_rows import model_rows
from haloquant.jobs.paper.model_table import ModelRow
from haloquant.store.paper_figures import read_perplexities, read_statements, rise

PLACE = "mine on books.txt"
TABLE = [
    ModelRow("fp16", 0, 10.0, 16.0, 16.0),
    ModelRow("rtn-w4a8", 0, 12.0, 4.1, 4.0, 0.25),
    ModelRow("zeroquant-global-w4a8", 0, 10.8, 4.1, 4.0),
    *(
        row
        for rounding, gain in (("halo", 0.0), ("ours", 0.1))
        for row in (
            ModelRow(f"{rounding} perf-opt", 128, 11.0 - gain, 3.3, 3.0),
            ModelRow(f"{rounding} bal", 128, 10.4 - gain, 3.7, 3.4),
            ModelRow(f"{rounding} bal", 32, 10.2 - gain, 3.9, 3.2),
            ModelRow(f"{rounding} perf-opt", 32, 10.7 - gain, 3.6, 3.0),
        )
    ),
]
TABLE = [replace(row, text="books.txt") for row in TABLE]


def changed(method: str, tile: int, row: ModelRow) -> list[ModelRow]:
    row = replace(row, text="books.txt")
    return [row if (old.method, old.tile) == (method, tile) else old for old in TABLE]


def test_rows_stand_beside_the_papers_and_say_both_counts_of_bits() -> None:
    rows = {row.claim: row for row in model_rows("mine", TABLE)}
    bal = rows[f"{PLACE}: rise of perplexity by halo bal at tile 128"]
    (printed,) = (r for r in read_perplexities() if (r.text, r.method, r.tile) == ("wikitext2", "halo bal", 128))
    assert bal.paper == rise(printed)["llama2-7b"] and bal.ours == pytest.approx(0.4)
    assert bal.verdict == "reproduced" and "3.70 stored bits, which the paper counts as 3.40" in bal.why
    assert rows[f"{PLACE}: rise of perplexity by halo perf-opt at tile 128"].verdict == "not reproduced"
    assert rows[f"{PLACE}: rise of perplexity by rtn-w4a8"].verdict == "not judged"


def test_what_differs_from_the_authors_and_the_error_are_said() -> None:
    rows = {row.claim: row for row in model_rows("mine", TABLE)}
    assert "(± 0.25)" in rows[f"{PLACE}: rise of perplexity by rtn-w4a8"].why
    assert "each layer alone, in order" in rows[f"{PLACE}: rise of perplexity by zeroquant-global-w4a8"].why
    only_ours = rows[f"{PLACE}: rise of perplexity by ours bal at tile 128"]
    assert (only_ours.paper, only_ours.verdict) == (None, "not judged")


def test_small_tiles_are_faster_and_more_accurate_but_not_at_fewer_stored_bits() -> None:
    row, ours = (row for row in model_rows("mine", TABLE) if "tiles of 32" in row.claim)
    assert row.verdict == ours.verdict == "partly" and row.ours == pytest.approx(10.2 / 10.4)
    speed = relative_time(shares_of_bits(3.4), array_points()) / relative_time(shares_of_bits(3.2), array_points())
    assert speed > 1 and f"{speed:.2f} times as fast" in row.why
    assert "tiles of 32 have 10.70 and tiles of 128 11.00" in row.why and "costs 0.30 bits" in row.why
    worse = changed("halo bal", 32, ModelRow("halo bal", 32, 10.5, 3.9, 3.6))
    assert next(row for row in model_rows("mine", worse) if "tiles of 32" in row.claim).verdict == "not reproduced"
    all_three = changed("halo bal", 32, ModelRow("halo bal", 32, 10.2, 3.6, 3.2))
    assert next(row for row in model_rows("mine", all_three) if "tiles of 32" in row.claim).verdict == "reproduced"


@pytest.mark.parametrize(("bits", "verdict"), [(3.4, "reproduced"), (3.9, "partly")])
def test_the_knee_is_held_against_the_published_bits(bits: float, verdict: str) -> None:
    table = changed("halo bal", 128, ModelRow("halo bal", 128, 10.4, 3.7, bits))
    row = next(row for row in model_rows("mine", table) if "knee" in row.claim)
    assert (row.ours, row.verdict) == (bits, verdict)


def test_every_text_has_its_rows_beside_the_papers_column_and_the_knee_is_said_once() -> None:
    both = [*TABLE, *(replace(row, text="my_c4.txt", perplexity=2 * row.perplexity) for row in TABLE)]
    rows = model_rows("mine", both)
    assert len(rows) == 2 * (len(TABLE) - 1 + 2) + 1 and len({row.claim for row in rows}) == len(rows)
    bal = next(row for row in rows if row.claim == "mine on my_c4.txt: rise of perplexity by halo bal at tile 128")
    (printed,) = (r for r in read_perplexities() if (r.text, r.method, r.tile) == ("c4", "halo bal", 128))
    assert bal.paper == rise(printed)["llama2-7b"] and bal.ours == pytest.approx(0.8)
    assert "llama2-7b on c4" in bal.why
    assert [row.place for row in rows].count("figure 9") == 1


@pytest.mark.parametrize(
    ("shares", "verdict", "over"),
    [((0.004, 0.0045), "reproduced", 0), ((0.002, 0.006), "partly", 1), ((0.006, 0.007), "not reproduced", 2)],
)
def test_the_sparse_share_is_held_against_the_text_layer_by_layer(
    shares: tuple[float, float], verdict: str, over: int
) -> None:
    kept = {"sparse": shares, "sparse_share": sum(shares) / 2}
    table = [replace(row, **kept) if row.method == "halo bal" else row for row in TABLE]
    row = model_rows("mine", table)[-1]
    assert (row.paper, row.ours) == (read_statements()["sparse-share"].value, sum(shares) / 2)
    assert row.verdict == verdict and f"{over} of 2 layers" in row.why
    assert row.place == "method" and not any(row.unit == "share" for row in model_rows("mine", TABLE))


def test_one_rounding_alone_has_no_rows_of_the_other() -> None:
    paper = [row for row in TABLE if not row.method.startswith("ours")]
    assert sum("tiles of 32" in row.claim for row in model_rows("mine", paper)) == 1
    ours = [row for row in TABLE if not row.method.startswith("halo")]
    rows = model_rows("mine", ours)
    assert sum("tiles of 32" in row.claim for row in rows) == 1 and not any(row.place == "figure 9" for row in rows)
