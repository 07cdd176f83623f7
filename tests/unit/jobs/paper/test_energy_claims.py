"""Energy by part: HALO's own split is given back, and each part moves with what it should."""

import pytest

from haloquant.jobs.paper import energy_claims
from haloquant.jobs.paper.clock_mix import Shares, array_points
from haloquant.jobs.paper.energy_claims import array_energy, halo_words, mean_energy, supply_ratio
from haloquant.records import OperatingPoint
from haloquant.store.paper_figures import effective_bits, read_statements


def test_a_rival_with_halos_clocks_supplies_and_energy_has_halos_split(monkeypatch: pytest.MonkeyPatch) -> None:
    same = tuple(OperatingPoint(1.0, 1.9e9) for _ in range(3))
    monkeypatch.setattr(energy_claims, "array_points", lambda: same)
    monkeypatch.setattr(energy_claims, "mean_energy", lambda values: 1.0)
    parts, said = array_energy("w8a8", Shares(0.5, 0.5)), read_statements()
    assert (parts.static, parts.buffer, parts.core) == pytest.approx(
        tuple(said[f"energy-{name}"].value for name in ("static", "buffer", "core"))
    )
    assert parts.total == pytest.approx(1.0)


def test_parts_of_the_rivals_by_hand() -> None:
    said, fast = read_statements(), Shares(1.0, 0.0)  # all tiles at the fast point
    base, _, top = array_points()
    supply, clock = top.voltage_v / base.voltage_v, top.frequency_hz / base.frequency_hz
    eight, four, floats = (array_energy(system, fast) for system in ("w8a8", "w4a8", "fp16"))
    assert eight.static == pytest.approx(said["energy-static"].value * clock / supply)
    assert eight.buffer == pytest.approx(said["energy-buffer"].value / supply**2)
    assert four.static == pytest.approx(eight.static * said["w4a8-time"].value) and four.buffer == eight.buffer
    assert four.core < eight.core  # small integers switch less
    assert floats.buffer == pytest.approx(2 * eight.buffer)
    assert floats.static == pytest.approx(eight.static / said["float-rate"].value)


def test_the_fast_words_need_less_energy_than_the_slow_ones() -> None:
    fast, slow = halo_words()
    assert (len(fast), len(slow)) == (8, 16)
    assert mean_energy(fast) < mean_energy(slow)


def test_a_mix_with_more_fast_tiles_costs_more_at_any_power_of_the_supply() -> None:
    for model in effective_bits("bal", 128):
        for power in (2, 3):
            assert supply_ratio("perf-opt", model, power) >= 1 >= supply_ratio("acc-opt", model, power)
            assert supply_ratio("bal", model, power) == 1
