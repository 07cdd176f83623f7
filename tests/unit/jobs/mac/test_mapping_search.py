"""The search of a mapping: its trials, its objective and its cache."""

from pathlib import Path

import pytest

from haloquant.circuits.rtl.generator import MacSpec
from haloquant.errors import InputError
from haloquant.jobs.mac import mapping_search
from haloquant.jobs.mac.catalogue import mac_from_spec
from haloquant.jobs.mac.mapping_search import Trial, search_mapping

SOURCE = mac_from_spec(MacSpec(rows="onedigit", stage="cs4", weight_bits=2, activation_bits=3, accumulator_bits=6))


@pytest.mark.slow
def test_the_best_trial_is_first_and_comes_from_the_cache_next_time(
    liberty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = ("keep", "sharing")
    found = search_mapping(SOURCE, liberty, 4e-10, "area-delay", scripts=scripts, cache=tmp_path)
    assert len(found.trials) == 6 and not found.failed
    costs = [trial.delay_s * trial.area_m2 for trial in found.trials]
    assert costs == sorted(costs) and found.best.cost("area-delay") == costs[0]
    assert found.best.script in found.said and "of 6 mappings" in found.said
    monkeypatch.setattr(mapping_search, "synthesize_mac", lambda *_, **__: pytest.fail("the cache was not used"))
    again = search_mapping(SOURCE, liberty, 4e-10, "delay", words=[0, 1], scripts=scripts, cache=tmp_path)
    assert {trial.area_m2 for trial in again.trials} == {trial.area_m2 for trial in found.trials}
    assert again.best.delay_s == min(trial.delay_s for trial in again.trials)
    assert "over 2 words" in again.said


def test_what_each_objective_minimizes() -> None:
    trial = Trial("balance", 1e-10, 2.0, 3.0, 5.0)
    assert [trial.cost(kind) for kind in ("delay", "area-delay", "area-delay-energy")] == [2.0, 6.0, 30.0]


def test_words_that_the_unit_does_not_hold_are_refused(liberty: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold every word of the search, but does not hold 3$"):
        search_mapping(SOURCE, liberty, 4e-10, "delay", words=[0, 3], cache=tmp_path)
