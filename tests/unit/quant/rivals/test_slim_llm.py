import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import gptq, slim_llm
from haloquant.quant.rounding import uniform_grid
from haloquant.records import LayerStatistics


def situation(out=24, features=96, tokens=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, features)) * np.repeat(10.0 ** rng.uniform(-1.5, 0.5, features // 8), 8)
    weight = (rng.normal(size=(out, features)) * 0.3).astype(np.float32)
    return weight, x, LayerStatistics("l", tokens, hessian=(2 / tokens * x.T @ x).astype(np.float32), source="test")


def config(**changes):
    return slim_llm.SlimConfig(group=8, **changes)


def test_average_bits_are_kept_and_counted():
    weight, _, statistics = situation()
    result = slim_llm.quantize(weight, statistics, config(), layer="l")
    bits = np.array(result.notes[0].split(": ")[1].split(), int)
    assert bits.mean() == 3 and set(bits) == {2, 3, 4}
    # Codes as allocated; a float16 scale and a zero point of the block's bits for each row and block; 2 bits a block.
    assert result.bits.total == 24 * 8 * bits.sum() + 24 * (16 + bits).sum() + 2 * 12
    for b in range(12):
        part = result.mac_values[:, 8 * b : 8 * b + 8]
        assert (part.max(axis=1) - part.min(axis=1)).max() < 2 ** bits[b]


def test_salient_blocks_get_the_bits():
    weight, _, statistics = situation()
    result = slim_llm.quantize(weight, statistics, config(), layer="l")
    bits = np.array(result.notes[0].split(": ")[1].split(), int)
    strength = np.diag(statistics.hessian)[::8]
    assert strength[bits == 4].min() > strength[bits == 2].max()


def test_allocation_is_the_best_of_its_candidates():
    weight, _, statistics = situation(features=48)
    inputs = slim_llm.draw_inputs(statistics.hessian, 64, 0.01)
    order = np.array([3, 1, 0, 5, 2, 4])
    got = slim_llm.allocate(weight, inputs, order, 3, 8)

    def rounded(bits):
        parts = []
        for b in range(6):
            part = np.ascontiguousarray(weight[:, 8 * b : 8 * b + 8])
            fitted = uniform_grid.fit(part, uniform_grid.GridSpec(int(bits[b]), None))
            parts.append(uniform_grid.values(uniform_grid.levels(part, fitted), fitted))
        return np.hstack(parts)

    def kl(bits):
        p, q = (np.exp(y - y.max(1, keepdims=True)) for y in (inputs @ weight.T, inputs @ rounded(bits).T))
        p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
        return (q * np.log(q / p)).sum(1).mean()

    candidates = []
    for n in range(4):
        bits = np.full(6, 3)
        bits[order[:n]] = 2
        bits[order[6 - n :]] = 4
        candidates.append(bits)
    np.testing.assert_array_equal(got, min(candidates, key=kl))


def test_divergence_by_hand():
    # p = (1/4, 3/4), q = (1/2, 1/2): 1/2 log 2 + 1/2 log(2/3); the rounded outputs q come first.
    truth = np.log(np.array([[0.25, 0.75]], np.float32))
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    assert slim_llm.divergence(truth, np.zeros((1, 2), np.float32)) == pytest.approx(expected, rel=1e-6)


def test_drawn_inputs_have_the_moments_of_the_layer():
    _, _, statistics = situation(features=16)
    drawn = slim_llm.draw_inputs(statistics.hessian, 40_000, 1e-6)
    np.testing.assert_allclose(2 / 40_000 * drawn.T @ drawn, statistics.hessian, atol=0.05 * statistics.hessian.max())


def test_scale_search_equals_the_slow_twin():
    rng = np.random.default_rng(1)
    target = rng.normal(size=(6, 40)).astype(np.float32)
    emphasis = np.where(rng.random((6, 40)) < 0.1, 2, 1).astype(np.float32)
    fitted = uniform_grid.fit(target, uniform_grid.GridSpec(3, None))
    factors = np.linspace(0.9, 1.1, 21).astype(np.float32)
    got = slim_llm.search_scale(target, emphasis, fitted.scale[:, 0], fitted.zero[:, 0], factors, 7)

    def loss(row, step):
        zero = fitted.zero[row, 0]
        error = target[row] - (np.clip(np.rint(target[row] / step) + zero, 0, 7) - zero) * step
        return (emphasis[row] * np.abs(error) ** 2.4).sum()

    for row in range(6):
        least = min(loss(row, fitted.scale[row, 0] * f) for f in factors)
        assert loss(row, got[row]) == pytest.approx(least, rel=1e-5)


def test_slim_beats_gptq_on_the_output_at_the_same_mean_bits():
    better = 0
    for seed in range(5):
        weight, x, statistics = situation(seed=seed)
        mine = slim_llm.quantize(weight, statistics, config(bits=2), layer="l")
        plain = gptq.quantize(weight, statistics, gptq.GptqConfig(2, 8, order="natural"), layer="l")
        losses = [float((((r.weight - weight) @ x.T) ** 2).sum()) for r in (mine, plain)]
        better += losses[0] < losses[1]
    assert better >= 4


def test_sentences():
    weight, _, statistics = situation()
    with pytest.raises(InputError, match="layer 'l': bits must be between 2 and 6, not 8"):
        slim_llm.quantize(weight, statistics, config(bits=8), layer="l")
    with pytest.raises(InputError, match="slim needs the layer Hessian"):
        slim_llm.quantize(weight, LayerStatistics("l", 0), config(), layer="l")
