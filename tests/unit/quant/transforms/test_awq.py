"""AWQ's search of scale and range, against plain loops."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.transforms import awq, input_scaling
from haloquant.records import LayerStatistics
from support.calibrated_layer import scaled_inputs_layer


def nearest(bits=3, group=16):
    spec = uniform_grid.GridSpec(bits, group)

    def rounding(weight, statistics):
        fitted = uniform_grid.fit(weight, spec)
        return uniform_grid.values(uniform_grid.levels(weight, fitted), fitted)

    return rounding


def test_awq_finds_the_least_output_error_of_its_candidates():
    weight, x, statistics = scaled_inputs_layer()
    config = awq.AwqConfig(points=8)
    found = awq.scaling((weight,), (statistics,), nearest(), config, layer="l")

    def error(alpha):
        s = awq.power_scale(statistics.input_absmean, alpha)
        return float((((nearest()(weight * s, statistics) / s - weight) @ x.T) ** 2).sum())

    errors = [error(i / 8) for i in range(8)]
    best = int(np.argmin(errors))
    assert best > 0, "the situation should have something to gain"
    np.testing.assert_array_equal(found.scale, awq.power_scale(statistics.input_absmean, best / 8))
    assert found.notes[0] == f"alpha {best / 8:g}"


def test_awq_hands_the_rounding_statistics_of_the_scaled_input():
    weight, _, statistics = scaled_inputs_layer()
    seen = []

    def rounding(scaled, known):
        seen.append((scaled.copy(), known))
        return scaled

    awq.scaling((weight,), (statistics,), rounding, awq.AwqConfig(points=2), layer="l")
    s = awq.power_scale(statistics.input_absmean, 0.5)
    np.testing.assert_array_equal(seen[1][0], weight * s)
    np.testing.assert_allclose(seen[1][1].hessian, input_scaling.scale_statistics(statistics, s).hessian)


def test_clip_never_loses_and_equals_a_slow_search():
    weight, _, statistics = scaled_inputs_layer(out=4)
    spec, config = uniform_grid.GridSpec(3, 16), awq.ClipConfig()
    clipped = awq.clip(weight, statistics, spec, config, layer="l")
    for row in range(4):
        for start in (0, 16):
            part, block = weight[row, start : start + 16], statistics.hessian[start : start + 16, start : start + 16]
            tries = []
            for i in range(10):
                bound = np.abs(part).max() * (1 - 0.5 * i / 10)
                candidate = np.clip(part, -bound, bound)[None].astype(np.float32)
                fitted = uniform_grid.fit(candidate, uniform_grid.GridSpec(3, None))
                delta = uniform_grid.values(uniform_grid.levels(candidate, fitted), fitted)[0] - part
                tries.append((float(delta @ block @ delta), candidate[0]))
            np.testing.assert_allclose(clipped[row, start : start + 16], min(tries, key=lambda t: t[0])[1], rtol=1e-5)


def test_sentences():
    weight, _, statistics = scaled_inputs_layer()
    none = LayerStatistics("l", 0)
    with pytest.raises(InputError, match="awq needs the mean inputs, not statistics from 'none'"):
        awq.scaling((weight,), (none,), nearest(), awq.AwqConfig(), layer="l")
    with pytest.raises(InputError, match="every weight must have its statistics, not 1 for 2"):
        awq.scaling((weight, weight), (statistics,), nearest(), awq.AwqConfig(), layer="l")
