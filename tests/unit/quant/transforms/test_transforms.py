import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import awq as awq_rival
from haloquant.quant.rivals import rtn
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.transforms import awq, input_scaling, smoothquant
from haloquant.records import LayerStatistics


def situation(out=24, features=32, tokens=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, features)) * np.exp(rng.normal(size=features) * 1.5)
    weight = (rng.normal(size=(out, features)) * 0.1).astype(np.float32)
    return weight, x.astype(np.float32), measured(x, weight)


def measured(x, weight):
    gradient = np.random.default_rng(5).normal(size=weight.shape)
    return LayerStatistics(
        layer="l",
        tokens=len(x),
        fisher=(gradient**2).astype(np.float32),
        hessian=(2 / len(x) * x.T @ x).astype(np.float32),
        input_absmean=np.abs(x).mean(0).astype(np.float32),
        input_absmax=np.abs(x).max(0).astype(np.float32),
        source="test",
    )


def nearest(bits=3, group=16):
    spec = uniform_grid.GridSpec(bits, group)

    def rounding(weight, statistics):
        fitted = uniform_grid.fit(weight, spec)
        return uniform_grid.values(uniform_grid.levels(weight, fitted), fitted)

    return rounding


def test_smoothquant_scale_by_hand():
    # max|X| = (16, 1), max|W| over both weights = (4, 0.25); alpha 1/2: s = (4 / 2, 1 / 0.5).
    weights = (np.array([[4.0, 0.1], [1.0, 0.2]], np.float32), np.array([[-1.0, -0.25]], np.float32))
    statistics = LayerStatistics("l", 1, input_absmax=np.array([16.0, 1.0], np.float32))
    found = smoothquant.scaling(weights, statistics, smoothquant.SmoothQuantConfig(0.5), layer="l")
    np.testing.assert_allclose(found.scale, [2.0, 2.0])


def test_smoothquant_leaves_silent_features_alone():
    statistics = LayerStatistics("l", 1, input_absmax=np.array([0.0, 4.0], np.float32))
    found = smoothquant.scaling((np.ones((1, 2), np.float32),), statistics, smoothquant.SmoothQuantConfig(), layer="l")
    np.testing.assert_allclose(found.scale, [1.0, 2.0])


def test_folding_into_a_norm_leaves_the_output_as_it_was():
    weight, x, statistics = situation()
    s = smoothquant.scaling((weight,), statistics, smoothquant.SmoothQuantConfig(0.8), layer="l").scale
    gain, shift = np.linspace(0.5, 2, 32).astype(np.float32), np.linspace(-1, 1, 32).astype(np.float32)
    folded_gain, folded_shift = input_scaling.fold_into_norm(gain, shift, s)
    before = (x * gain + shift) @ weight.T
    after = (x * folded_gain + folded_shift) @ input_scaling.scale_weight(weight, s).T
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    assert input_scaling.fold_into_norm(gain, None, s)[1] is None


def test_folding_into_the_linear_layer_before_leaves_the_output_as_it_was():
    rng = np.random.default_rng(3)
    before, bias = rng.normal(size=(32, 7)).astype(np.float32), rng.normal(size=32).astype(np.float32)
    weight, _, statistics = situation()
    s = awq.power_scale(statistics.input_absmean, 0.5)
    z = rng.normal(size=(5, 7)).astype(np.float32)
    folded, folded_bias = input_scaling.fold_into_linear(before, bias, s)
    np.testing.assert_allclose(
        (z @ folded.T + folded_bias) @ input_scaling.scale_weight(weight, s).T,
        (z @ before.T + bias) @ weight.T,
        rtol=1e-3,
        atol=1e-4,
    )


def test_scaled_statistics_are_those_of_the_scaled_input():
    weight, x, statistics = situation()
    s = awq.power_scale(statistics.input_absmean, 0.7)
    scaled, direct = input_scaling.scale_statistics(statistics, s), measured(x / s, weight)
    np.testing.assert_allclose(scaled.hessian, direct.hessian, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(scaled.input_absmean, direct.input_absmean, rtol=1e-5)
    np.testing.assert_allclose(scaled.input_absmax, direct.input_absmax, rtol=1e-5)
    # loss(W) = sum(G * W) has gradient G by W; as a function of W' = W s it has gradient G / s.
    np.testing.assert_allclose(scaled.fisher, statistics.fisher / s**2, rtol=1e-5)


def test_scaling_by_one_changes_nothing():
    weight, _, statistics = situation()
    one = np.ones(32, np.float32)
    assert input_scaling.scale_weight(weight, one).tobytes() == weight.tobytes()
    np.testing.assert_array_equal(input_scaling.scale_statistics(statistics, one).hessian, statistics.hessian)
    np.testing.assert_array_equal(awq.power_scale(statistics.input_absmean, 0.0), one)


def test_tied_scale_is_one_for_the_heads_of_a_value_head():
    scale = np.array([1, 2, 4, 8, 3, 3, 3, 3], np.float32)  # 4 heads of 2 features, 2 value heads
    tied = input_scaling.tie_repeated(scale, heads=4, kv_heads=2)
    np.testing.assert_allclose(tied, [2, 4, 2, 4, 3, 3, 3, 3], rtol=1e-6)
    with pytest.raises(InputError, match="8 features must divide into 3 heads, and these into 2 value heads"):
        input_scaling.tie_repeated(scale, heads=3, kv_heads=2)


def test_awq_finds_the_least_output_error_of_its_candidates():
    weight, x, statistics = situation()
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
    weight, _, statistics = situation()
    seen = []

    def rounding(scaled, known):
        seen.append((scaled.copy(), known))
        return scaled

    awq.scaling((weight,), (statistics,), rounding, awq.AwqConfig(points=2), layer="l")
    s = awq.power_scale(statistics.input_absmean, 0.5)
    np.testing.assert_array_equal(seen[1][0], weight * s)
    np.testing.assert_allclose(seen[1][1].hessian, input_scaling.scale_statistics(statistics, s).hessian)


def test_awq_as_a_rival_beats_rounding_and_pays_for_its_scale():
    weight, x, statistics = situation()
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(3, 16), layer="l")
    result = awq_rival.quantize(weight, statistics, awq_rival.AwqLayerConfig(3, 16), layer="l")
    losses = [float((((r.weight - weight) @ x.T) ** 2).sum()) for r in (result, plain)]
    assert losses[0] < 0.8 * losses[1]
    assert result.bits.total - plain.bits.total == 16 * 32
    # One candidate each: no scaling, no clipping, plain rounding.
    none = awq_rival.quantize(weight, statistics, awq_rival.AwqLayerConfig(3, 16, 1, 1), layer="l")
    assert none.weight.tobytes() == plain.weight.tobytes()


def test_clip_never_loses_and_equals_a_slow_search():
    weight, _, statistics = situation(out=4)
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
    weight, _, statistics = situation()
    none = LayerStatistics("l", 0)
    with pytest.raises(InputError, match="layer 'l': smoothquant needs the largest inputs, not statistics from 'none'"):
        smoothquant.scaling((weight,), none, smoothquant.SmoothQuantConfig(), layer="l")
    with pytest.raises(InputError, match="layer 'l': alpha must be between 0 and 1, not 2"):
        smoothquant.scaling((weight,), statistics, smoothquant.SmoothQuantConfig(2.0), layer="l")
    with pytest.raises(InputError, match="awq needs the mean inputs, not statistics from 'none'"):
        awq.scaling((weight,), (none,), nearest(), awq.AwqConfig(), layer="l")
    with pytest.raises(InputError, match="every weight must have its statistics, not 1 for 2"):
        awq.scaling((weight, weight), (statistics,), nearest(), awq.AwqConfig(), layer="l")
    with pytest.raises(InputError, match="weights that share an input must read its 32 features, not 31"):
        smoothquant.scaling((weight, weight[:, 1:]), statistics, smoothquant.SmoothQuantConfig(), layer="l")
