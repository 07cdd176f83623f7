"""What holds for every rival, whatever the numbers: rows are independent, and powers of two pass through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haloquant.quant.rivals.registry import rival
from haloquant.quant.rounding import uniform_grid
from haloquant.records import LayerStatistics

# SpQR shares statistics between neighbouring rows, SliM and LoRC look at all rows, BoA at heads.
BY_ROW = (
    "rtn-w8",
    "rtn-w3-g128",
    "gptq-w4-g128",
    "gptq-w3",
    "squeezellm-w3",
    "zeroquant-w4-g128",
    "zeroquant-local-w3-g128",
)
SCALE_FREE = (*BY_ROW, "spqr-w3", "slim-w3-g128", "awq-w4-g128", "squeezellm-w4-sparse")


def layer(seed, out, features):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2 * features, features)) * rng.uniform(0.3, 3, features)
    weight = rng.standard_t(4, size=(out, features)).astype(np.float32)
    known = LayerStatistics(
        "l",
        len(x),
        fisher=rng.chisquare(1, size=weight.shape).astype(np.float32),
        hessian=(2 / len(x) * x.T @ x).astype(np.float32),
        input_absmean=np.abs(x).mean(0).astype(np.float32),
        source="test",
    )
    return weight, known


@pytest.mark.parametrize("name", BY_ROW)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), out=st.integers(2, 12), features=st.integers(2, 150))
def test_rows_do_not_know_of_each_other(name, seed, out, features):
    weight, known = layer(seed, out, features)
    strangers, seen = layer(seed + 5000, out, features)
    strangers[1], seen.fisher[1] = weight[1], known.fisher[1]
    among = LayerStatistics("l", known.tokens, seen.fisher, known.hessian, known.input_absmean, source="test")
    once = rival(name).quantize(weight, known, layer="l")
    again = rival(name).quantize(strangers, among, layer="l")
    # Of equal shapes every row sums in one order: even distilled weights, where a last bit grows, are equal.
    np.testing.assert_array_equal(again.weight[1], once.weight[1])


@pytest.mark.parametrize("name", SCALE_FREE)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000), power=st.integers(-5, 5))
def test_a_power_of_two_passes_through(name, seed, power):
    weight, known = layer(seed, 20, 70)
    once = rival(name).quantize(weight, known, layer="l")
    scaled = rival(name).quantize(weight * np.float32(2.0**power), known, layer="l")
    miss = np.abs(scaled.weight * np.float32(2.0**-power) - once.weight)
    assert (miss > 1e-3).mean() <= 0.05 if "slim" in name else miss.max() < 2e-3
    assert scaled.bits == once.bits or "slim" in name


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    bits=st.integers(2, 7),
    group=st.one_of(st.none(), st.integers(1, 70)),
    scheme=st.sampled_from(["symmetric", "asymmetric"]),
    exponent=st.integers(-30, 12),
)
def test_levels_stay_in_range_and_rounding_again_changes_nothing(seed, bits, group, scheme, exponent):
    rng = np.random.default_rng(seed)
    weight = np.ldexp(rng.normal(size=(3, 50)), exponent).astype(np.float32)
    weight[:, rng.integers(0, 50, 5)] = 0
    spec = uniform_grid.GridSpec(bits, group, scheme)
    fitted = uniform_grid.fit(weight, spec)
    level = uniform_grid.levels(weight, fitted)
    assert np.abs(level).max() <= max(spec.high, -spec.low)
    assert not level[weight == 0].any(), "0 is always on the grid"
    again = uniform_grid.levels(uniform_grid.values(level, fitted), fitted)
    np.testing.assert_array_equal(again, level)
    table = uniform_grid.table(fitted)
    assert (np.diff(table, axis=2) > 0).all()
    width = spec.width(50)
    for column in (0, 49):
        assert np.isin(uniform_grid.values(level, fitted)[0, column], table[0, column // width])
