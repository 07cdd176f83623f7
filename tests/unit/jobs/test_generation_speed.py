"""Rates, energy and words of a measurement, with clocks and counters that are known."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

import haloquant.jobs.generation_speed as generation_speed
from haloquant.errors import InputError
from haloquant.jobs.energy_counters import EnergyCounter
from haloquant.jobs.generation_speed import NOT_MEASURED, measure_generation, repeat
from haloquant.lm.generation import TimedTokens
from support.tiny_model import save_tiny


def test_energy_is_that_of_the_repetitions_alone() -> None:
    joules = 0.0
    slept: list[float] = []

    def once() -> TimedTokens:
        nonlocal joules
        joules += 2.0
        return TimedTokens((1, 2), 0.1, 0.5)

    def sleep(seconds: float) -> None:
        nonlocal joules
        joules += 100.0
        slept.append(seconds)

    counters = [EnergyCounter("a", lambda: joules, 0.0), EnergyCounter("b", lambda: 3 * joules, 0.0)]
    found = repeat(once, 3, 5.0, counters, sleep=sleep)
    assert len(found.runs) == 3 and slept == [5.0] * 3
    assert found.energy_j == pytest.approx(3 * (2.0 + 6.0))
    assert repeat(once, 1, 0.0, (), sleep=sleep).energy_j is None


def test_the_figures_follow_from_the_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(save_tiny(tmp_path / "tiny"))
    times = iter((9.0, 0.5, 0.4, 0.1))  # the first is not counted
    monkeypatch.setattr(generation_speed, "generate", lambda *_: TimedTokens((1,) * 11, 0.2, next(times)))
    monkeypatch.setattr(generation_speed, "processor_counters", lambda: ())
    found = measure_generation(folder, 10, 3, 0.0, 5.0, 3600.0, "float32", "cpu")
    assert (found.tok_s_least, found.tok_s, found.tok_s_most) == pytest.approx((20.0, 25.0, 100.0))
    assert found.tok_per_j == pytest.approx(25.0 / 5.0) and found.energy_source == "given"
    assert found.battery_words == pytest.approx(5.0 * 3600.0 * found.words_per_token)
    assert found.memory_bound_tok_s == pytest.approx(found.read_b_per_s / found.read_b)
    times = iter((1.0, 1.0))
    unknown = measure_generation(folder, 10, 1, 0.0, None, 3600.0, "float32", "cpu")
    assert unknown.watts is unknown.tok_per_j is unknown.battery_words is None
    assert unknown.notes == (NOT_MEASURED,)


def test_more_tokens_than_the_context_holds_are_refused(tmp_path: Path) -> None:
    folder = str(save_tiny(tmp_path / "tiny"))
    with pytest.raises(InputError, match=r"tokens must be at most 47 for this model, whose context of 64 .*, not 48"):
        measure_generation(folder, 48, 1, 0.0, None, None, "float32", "cpu")
