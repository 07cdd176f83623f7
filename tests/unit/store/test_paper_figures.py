"""The published numbers agree with each other: figures with the text, and bars with bars."""

import math
from statistics import mean

import pytest

from haloquant.store.paper_figures import (
    MODELS,
    effective_bits,
    read_bars,
    read_mac,
    read_perplexities,
    read_statements,
    rise,
)

READING = 0.02  # two readings of about 1 % each


def bars(figure: int, system: str) -> dict[str, float]:
    return {bar.model: bar.value for bar in read_bars() if (bar.figure, bar.system) == (figure, system)}


def said(name: str) -> float:
    return read_statements()[name].value


def test_the_headline_speeds_are_bars_of_figure_8() -> None:
    assert mean(bars(8, "fp16").values()) == pytest.approx(said("speed-average"), rel=READING)
    assert bars(8, "fp16")["llama2-13b"] == max(bars(8, "fp16").values()) == pytest.approx(said("speed-largest"))
    assert bars(8, "w8a8")["llama2-13b"] == pytest.approx(said("speed-over-quantized"))
    for model in MODELS:
        assert bars(8, "w8a8")[model] / bars(8, "fp16")[model] == pytest.approx(said("float-rate"), rel=READING)


def test_the_headline_energy_is_against_floating_point_and_against_nothing_else() -> None:
    assert {round(1 / value, 2) for value in bars(10, "fp16").values()} == {said("energy-saved")}
    for system in ("w8a8", "w4a8", "w3a8"):
        assert all(value < 1 for value in bars(10, system).values()), system  # HALO draws more than each
    assert said("energy-static") + said("energy-buffer") + said("energy-core") == pytest.approx(1.0)


def test_delays_and_powers_of_the_text_are_those_of_the_figure() -> None:
    mac = {value.weight: value for value in read_mac()}
    for weight, name in ((64, "fast-delay"), (-127, "slow-delay")):
        assert 1e12 / mac[weight].frequency_hz == pytest.approx(said(name), rel=READING)
    for name, step in (("power-mean", 1), ("power-slow", 16), ("power-fast", 32)):
        held = [value.power_w for value in mac.values() if value.weight % step == 0]
        assert 1e6 * mean(held) == pytest.approx(said(name), rel=READING)


def test_the_fast_words_are_the_multiples_of_32_and_the_clock_of_sixteen_words_is_a_little_lower_than_said() -> None:
    at_least = lambda ghz: {v.weight for v in read_mac() if v.frequency_hz >= ghz * 1e9}  # noqa: E731
    assert at_least(said("fast-clock")) == set(range(-128, 128, 32))  # eight, where the text says nine
    assert len(at_least(said("slow-clock"))) == 12 and at_least(2.33) == set(range(-128, 128, 16))
    assert len(at_least(said("base-clock"))) == 256


def test_table_2_has_full_precision_below_every_variant_of_halo() -> None:
    rows = read_perplexities()
    assert len(rows) == 30 and [row.text for row in rows].count("c4") == 15
    for row in rows:
        if row.method.startswith("halo"):
            assert set(row.perplexity) == set(effective_bits("bal", 128)) and min(rise(row).values()) > 0
            assert row.bits == effective_bits(row.method.removeprefix("halo "), row.tile)
    (local,) = (row for row in rows if row.method.startswith("zeroquant-local") and row.text == "wikitext2")
    assert set(local.perplexity) == {"opt-1.3b", "opt-30b"}  # copied from another paper
    (broken,) = (row for row in rows if row.text == "c4" and row.method == "rtn-w3a8")
    assert math.isnan(broken.perplexity["llama2-7b"]) and "llama2-7b" not in rise(broken)


def test_no_row_of_table_2_is_no_row() -> None:
    with pytest.raises(KeyError, match="halo perf-opt, tile 32"):
        effective_bits("perf-opt", 32)
