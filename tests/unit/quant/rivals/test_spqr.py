"""SpQR: quantized statistics and outliers."""

from functools import partial

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import spqr
from haloquant.quant.rounding.compensation import activation_order_by_tile
from haloquant.records import LayerStatistics
from support.calibrated_layer import calibrated_layer

situation = partial(calibrated_layer, out=12, features=32, tokens=120)


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
    found = spqr.likely_outliers(target, stiffness, 7, limit)
    clear = np.abs(gains - limit) > 1e-4
    np.testing.assert_array_equal(found[clear], (gains > limit)[clear])
    assert 0 < found.sum() < 40


def authors_way(weight, hessian, order, config):
    """SpQR column by column with the inverse Hessian's Cholesky factor U, as published; float64.

    Outliers are those whose own error, after rounding on a grid that was fitted without the likely outliers, is above
    the limit of the layer.
    """
    damped = hessian + config.damping * np.diag(hessian).mean() * np.eye(len(hessian))
    inverse = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    spread = np.diag(inverse)
    w, top, g = weight[:, order].astype(float), 2**config.bits - 1, config.group
    limit = config.threshold * (w.var(axis=0) / spread**2).mean()
    outlier, out = np.zeros(w.shape, bool), np.zeros(w.shape)
    for j in range(w.shape[1]):
        if j % g == 0:
            part, stiff = w[:, j : j + g], 1 / spread[j : j + g] ** 2
            gains = np.array([[slow_gain(row, stiff, top, i) for i in range(part.shape[1])] for row in part])
            inside = np.where(gains > limit, 0, part)
            low, high = np.minimum(inside.min(1), 0), np.maximum(inside.max(1), 0)
            scale = spqr.quantize_statistic(((high - low) / top).astype(np.float32), config.statistic_bits, 16)
            zero = spqr.quantize_statistic((-low / scale).astype(np.float32), config.statistic_bits, 16)
        value = (np.clip(np.rint(w[:, j] / scale + zero), 0, top) - zero) * scale
        outlier[:, j] = ((w[:, j] - value) / spread[j]) ** 2 > limit
        out[:, j] = np.where(outlier[:, j], w[:, j], value)
        w[:, j + 1 :] -= np.outer((w[:, j] - out[:, j]) / spread[j], inverse[j, j + 1 :])
    back = np.argsort(order)
    return out[:, back], outlier[:, back]


def test_spqr_is_the_published_algorithm():
    rng = np.random.default_rng(4)
    weight, _, statistics = situation(out=20)
    weight = (weight * rng.standard_t(3, weight.shape)).astype(np.float32)
    config = spqr.SpqrConfig(threshold=0.5)
    blocks = activation_order_by_tile(np.diag(statistics.hessian).copy(), 16)
    wanted, outlier = authors_way(weight, statistics.hessian.astype(float), np.concatenate(blocks), config)
    result = spqr.quantize(weight, statistics, config, layer="l")
    count = int(result.notes[0].split()[0])
    assert 0 < count == outlier.sum() < weight.size / 4
    same = np.isclose(result.weight, wanted, rtol=2e-3, atol=1e-4)
    assert same.mean() > 0.98  # a tie that float32 rounds the other way moves the rest of its row
    assert (result.mac_values[outlier] == 0).all()


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


def test_sentences():
    weight, _, _ = situation()
    with pytest.raises(InputError, match="spqr needs the layer Hessian"):
        spqr.quantize(weight, LayerStatistics("l", 0), spqr.SpqrConfig(), layer="l")
