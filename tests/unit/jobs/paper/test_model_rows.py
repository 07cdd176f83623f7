"""Claims of table 2 on a model, from a made-up table; the rounding of SmoothQuant's rows."""

import numpy as np
import pytest

from haloquant.jobs.paper.model_rows import ModelRow, model_rows, round_scaled
from haloquant.quant.rounding.uniform_grid import GridSpec, round_to_grid
from haloquant.store.paper_figures import read_perplexities, rise

TABLE = [
    ModelRow("fp16", 0, 10.0, 16.0, 16.0),
    ModelRow("rtn-w4a8", 0, 12.0, 4.1, 4.0),
    ModelRow("halo perf-opt", 128, 11.0, 3.3, 3.0),
    ModelRow("halo bal", 128, 10.4, 3.7, 3.4),
    ModelRow("halo bal", 32, 10.2, 3.9, 3.2),
]


def test_rows_stand_beside_the_papers_and_say_both_counts_of_bits() -> None:
    rows = {row.claim: row for row in model_rows("mine", TABLE)}
    bal = rows["mine: rise of perplexity by halo bal at tile 128"]
    (printed,) = (r for r in read_perplexities() if (r.text, r.method, r.tile) == ("wikitext2", "halo bal", 128))
    assert bal.paper == rise(printed)["llama2-7b"] and bal.ours == pytest.approx(0.4)
    assert bal.verdict == "reproduced" and "3.70 stored bits, which the paper counts as 3.40" in bal.why
    assert rows["mine: rise of perplexity by halo perf-opt at tile 128"].verdict == "not reproduced"
    assert rows["mine: rise of perplexity by rtn-w4a8"].verdict == "not judged"


def test_small_tiles_are_more_accurate_but_not_at_fewer_stored_bits() -> None:
    row = next(row for row in model_rows("mine", TABLE) if "tiles of 32" in row.claim)
    assert row.verdict == "partly" and row.ours == pytest.approx(1.02 / 1.04)
    worse = [*TABLE[:4], ModelRow("halo bal", 32, 10.5, 3.9, 3.2)]
    assert next(row for row in model_rows("mine", worse) if "tiles of 32" in row.claim).verdict == "not reproduced"


@pytest.mark.parametrize(("bits", "verdict"), [(3.4, "reproduced"), (3.9, "partly")])
def test_the_knee_is_held_against_the_published_bits(bits: float, verdict: str) -> None:
    table = [*TABLE[:3], ModelRow("halo bal", 128, 10.4, 3.7, bits), TABLE[4]]
    row = next(row for row in model_rows("mine", table) if "knee" in row.claim)
    assert (row.ours, row.verdict) == (bits, verdict)


def test_a_smoothed_weight_is_rounded_at_the_scaled_input() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    scale = np.float32(2.0) ** np.arange(-4, 4, dtype=np.float32)
    made = round_scaled("l", weight, scale, 4)
    spec = GridSpec(4, None, "symmetric")
    assert made * scale == pytest.approx(round_to_grid(weight * scale, spec)[0], abs=1e-6)
    assert np.array_equal(round_scaled("l", weight, None, 4), round_to_grid(weight, spec)[0])
