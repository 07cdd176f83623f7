import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import boa, gptq, spqr
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.records import LayerStatistics


def situation(out=12, features=32, tokens=120, seed=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(tokens, features)) @ rng.normal(size=(features, features)) / 5).astype(np.float32)
    weight = (rng.normal(size=(out, features)) * 0.1).astype(np.float32)
    return weight, x, LayerStatistics("l", tokens, hessian=(2 / tokens * x.T @ x).astype(np.float32), source="test")


# --- SpQR


def test_statistics_by_hand():
    # Two runs of two: 1..8 in 3 bits has step 1; 0..3.5 has step 0.5 and 1.3 goes to 1.5.
    got = spqr.quantize_statistic(np.array([1, 8, 0, 3.5, 1.3], np.float32), 3, 2)
    assert got.tolist() == [1, 8, 0, 3.5, pytest.approx(1.3, rel=1e-3)]
    got = spqr.quantize_statistic(np.array([0, 1.3, 3.5], np.float32), 3, 3)
    assert got.tolist() == [0, 1.5, 3.5]


def slow_gain(row, stiffness, top, i):
    def loss(part, s):
        low, high = min(part.min(), 0), max(part.max(), 0)
        scale = (high - low) / top
        zero = -low / scale
        q = (np.clip(np.rint(part / scale + zero), 0, top) - zero) * scale
        return float((s * (part - q) ** 2).sum())

    return loss(row, stiffness) - loss(np.delete(row, i), np.delete(stiffness, i))


def test_leave_one_out_equals_the_slow_twin():
    rng = np.random.default_rng(2)
    target = rng.standard_t(3, size=(20, 16)).astype(np.float32)
    stiffness = rng.uniform(0.5, 2, 16).astype(np.float32)
    gains = np.array([[slow_gain(row.astype(float), stiffness, 7, i) for i in range(16)] for row in target])
    limit = 0.2 * float((target.var(0) * stiffness).mean())
    found = spqr.find_outliers(target, stiffness, 7, 0.2)
    clear = np.abs(gains - limit) > 1e-4
    np.testing.assert_array_equal(found[clear], (gains > limit)[clear])
    assert 0 < found.sum() < 40


def test_an_outlier_is_kept_and_its_group_becomes_finer():
    weight, _, statistics = situation(out=64)
    weight[3, 5] = 3.0
    result = spqr.quantize(weight, statistics, spqr.SpqrConfig(), layer="l")
    assert result.mac_values[3, 5] == 0
    others = np.delete(result.weight[3, :16] - weight[3, :16], 5)
    assert np.abs(others).max() < 0.2  # with 3.0 in the grid the step would be 3 / 7


def test_spqr_bits_by_hand():
    weight, _, statistics = situation(out=20)
    result = spqr.quantize(weight, statistics, spqr.SpqrConfig(threshold=1e9), layer="l")
    # 640 codes of 3 bits; 20 rows x 2 groups x (3 + 3); 2 teams x 2 groups x 2 statistics x 2 float16; no outlier.
    assert result.bits.total == 640 * 3 + 20 * 2 * 6 + 2 * 2 * 2 * 32
    some = spqr.quantize(weight, statistics, spqr.SpqrConfig(), layer="l")
    count = int(some.notes[0].split()[0])
    assert count > 0 and some.bits.sparse == count * 32 + 21 * 32


def test_lower_thresholds_keep_more_and_lose_less():
    weight, x, statistics = situation(out=40, features=64)
    losses = []
    for threshold in (1e9, 0.2, 0.05):
        result = spqr.quantize(weight, statistics, spqr.SpqrConfig(threshold=threshold), layer="l")
        losses.append(float((((result.weight - weight) @ x.T) ** 2).sum()))
    assert losses[0] > losses[1] > losses[2]


# --- BoA


def kronecker_obq(weight, hessian, g, bits, width):
    """Optimal brain quantization of vec(W) with the full matrix G x H, inverse downdated weight by weight."""
    rows, features = weight.shape
    inverse = np.linalg.inv(np.kron(g, hessian))
    work = weight.astype(np.float64).reshape(-1)
    spec = uniform_grid.GridSpec(bits, width)
    for r in range(rows):
        fitted = uniform_grid.fit(work.reshape(rows, features)[r : r + 1].astype(np.float32), spec)
        for c in range(features):
            j = r * features + c
            scale, zero = fitted.scale[0, c // width], fitted.zero[0, c // width]
            value = (np.clip(np.rint(work[j] / scale) + zero, 0, spec.high) - zero) * scale
            work -= (work[j] - value) / inverse[j, j] * inverse[j]
            inverse -= np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
            inverse[j, :] = inverse[:, j] = 0
            inverse[j, j] = 1
            work[j] = value
    return work.reshape(rows, features)


def row_factor(size, seed):
    k = np.random.default_rng(seed).normal(size=(3 * size, size))
    return (k.T @ k / size).astype(np.float32)


@pytest.mark.parametrize(("size", "features", "width", "bits"), [(4, 6, 6, 3), (6, 8, 4, 2), (3, 12, 4, 4)])
def test_boa_is_obq_on_the_kronecker_product(size, features, width, bits):
    weight, _, statistics = situation(out=2 * size, features=features)
    g = np.stack([row_factor(size, 1), row_factor(size, 2)])
    config = boa.BoaConfig(bits, width, order="natural")
    result = boa.quantize(weight, statistics, config, layer="l", row_hessian=g)
    for h in range(2):
        part = slice(h * size, (h + 1) * size)
        damped = [m.astype(float) + 0.01 * np.diag(m).mean() * np.eye(len(m)) for m in (statistics.hessian, g[h])]
        slow = kronecker_obq(weight[part], damped[0], damped[1], bits, width)
        np.testing.assert_allclose(result.weight[part], slow, atol=1e-4)


def test_a_row_hessian_of_one_is_gptq():
    weight, _, statistics = situation()
    g = np.stack([np.eye(6, dtype=np.float32)] * 2)
    result = boa.quantize(weight, statistics, boa.BoaConfig(4, 16), layer="l", row_hessian=g)
    plain = gptq.quantize(weight, statistics, gptq.GptqConfig(4, 16), layer="l")
    np.testing.assert_allclose(result.weight, plain.weight, atol=1e-6)
    np.testing.assert_array_equal(result.mac_values, plain.mac_values)
    assert result.bits == plain.bits
    assert result.notes == (boa.NOTE_AWARE,)
    assert boa.quantize(weight, statistics, boa.BoaConfig(4, 16), layer="l").notes == (boa.NOTE_PLAIN,)


def test_boa_lowers_the_loss_that_it_is_for():
    better = 0
    for seed in range(6):
        weight, _, statistics = situation(out=16, features=32, seed=seed)
        g = np.stack([row_factor(8, seed), row_factor(8, seed + 100)])

        def loss(result, weight=weight, g=g, statistics=statistics):
            error = (result.weight - weight).reshape(2, 8, -1).astype(float)
            return float(np.einsum("hab,hbi,ij,haj->", g, error, statistics.hessian, error))

        aware = boa.quantize(weight, statistics, boa.BoaConfig(3, 32), layer="l", row_hessian=g)
        plain = gptq.quantize(weight, statistics, gptq.GptqConfig(3, 32), layer="l")
        better += loss(aware) < loss(plain)
    assert better >= 5


def test_sentences():
    weight, _, statistics = situation()
    with pytest.raises(InputError, match="row Hessians must cover its 12 rows, not 1 heads of 5 rows"):
        boa.quantize(weight, statistics, boa.BoaConfig(), layer="l", row_hessian=np.ones((1, 5, 5), np.float32))
    with pytest.raises(InputError, match="the row Hessian of head 0 must be positive definite once damped, but is not"):
        boa.quantize(weight, statistics, boa.BoaConfig(), layer="l", row_hessian=-np.eye(12, dtype=np.float32)[None])
    with pytest.raises(InputError, match="spqr needs the layer Hessian"):
        spqr.quantize(weight, LayerStatistics("l", 0), spqr.SpqrConfig(), layer="l")
