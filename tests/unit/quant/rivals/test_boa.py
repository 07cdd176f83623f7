"""BoA against optimal brain quantization on the Kronecker product."""

from functools import partial

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import boa, gptq
from haloquant.quant.rounding import uniform_grid
from support.calibrated_layer import calibrated_layer

situation = partial(calibrated_layer, out=12, features=32, tokens=120)


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
