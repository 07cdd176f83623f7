"""Rows on speed: verdicts at their limits, models without bits, and the fair side."""

import pytest

from haloquant.jobs.paper.speed_claims import bal_shares, clock_verdict, published, speed_rows
from haloquant.store.paper_figures import MODELS, effective_bits


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (1.049, "follows from its clocks"),
        (0.951, "follows from its clocks"),
        (1.06, "partly"),
        (0.89, "not reproduced"),
    ],
)
def test_the_verdict_follows_the_distance(ours: float, verdict: str) -> None:
    assert clock_verdict(ours, 1.0) == verdict


def test_models_without_bits_are_not_judged_in_figure_8_and_are_inferred_in_figure_12() -> None:
    rows = speed_rows({})
    unknown = set(MODELS) - set(effective_bits("bal", 128))
    left = [row for row in rows if row.place == "figure 8" and row.why.startswith("its effective")]
    assert {row.claim.rsplit(" ", 1)[1] for row in left} == unknown and len(left) == 2 * len(unknown)
    assert set(bal_shares()) == set(MODELS)
    inferred = [row for row in rows if row.place == "figure 12" and "solved from figure 8" in row.why]
    assert {row.claim.rsplit(" ", 1)[1] for row in inferred} == unknown
    assert all(row.ours and row.paper == published(12, "w8a8")[row.claim.rsplit(" ", 1)[1]] for row in inferred)


def test_the_fair_side_is_passed_on_and_narrow_rivals_are_averaged() -> None:
    models = list(effective_bits("bal", 128))
    fair = {("w8a8", "opt-30b"): 1.5, **{("w4a8", model): 1.0 + i for i, model in enumerate(models)}}
    rows = {row.claim: row for row in speed_rows(fair)}
    assert rows["array: w8a8 time over bal time, opt-30b"].fair == 1.5
    assert rows["array: w8a8 time over bal time, llama2-7b"].fair is None
    assert rows["array: w4a8 time over bal time, mean of four models"].fair == 2.5
    assert rows["array: w3a8 time over bal time, mean of four models"].fair is None
