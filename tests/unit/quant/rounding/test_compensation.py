"""Error compensation against GPTQ as published."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.layer import dequantize, quantize_weight
from haloquant.quant.reference.losses import hessian_loss
from haloquant.quant.rounding.compensation import (
    activation_order,
    activation_order_by_tile,
    compensate,
    factorize,
    natural_order,
)
from haloquant.quant.rounding.levels import codes_of_levels, level_table
from haloquant.quant.sparse import no_sparse_weights
from support.quant_twins import NINE, SIXTEEN, gptq_by_the_paper, random_statistics, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)


ORDERS = {
    "natural": lambda d, n: natural_order(d.size, n),
    "ordered": activation_order_by_tile,
    "free": activation_order,
}


@pytest.mark.parametrize("order", ORDERS)
def test_is_gptq_by_the_paper(order) -> None:
    weight, statistics = random_weight(0, 24, 90), random_statistics(0, 24, 90)
    hessian = statistics.hessian
    blocks = ORDERS[order](np.diagonal(hessian).copy(), 32)
    tiles = tile_map(weight.shape, 16, 32, [[0, 1, 0], [1, 0, 1]])
    scale = quantize_weight(weight, tiles=tiles, codebooks=BOOKS).scale
    table = level_table(scale, tiles, BOOKS)
    groups = np.arange(90) // 32
    got = compensate(weight, factorize(hessian, blocks), lambda *_: table, groups=groups)
    levels = np.nan_to_num(table.astype(np.float64), posinf=1e9).transpose(1, 0, 2)[groups]
    want = gptq_by_the_paper(weight, hessian, 0.01, levels, np.concatenate(blocks))
    # Float32 against float64: a weight at a tie may fall to the other side, and then so do those it compensates.
    assert np.mean(np.abs(got.values - want) > 1e-6) < 0.005
    damped = hessian + 0.01 * np.trace(hessian) / 90 * np.eye(90, dtype=np.float32)
    assert got.loss.sum() == pytest.approx(hessian_loss(weight, got.values, damped).sum(), rel=1e-4)
    codes = codes_of_levels(got.codes, scale, tiles, BOOKS, no_sparse_weights(24))
    q = replace(quantize_weight(weight, tiles=tiles, codebooks=BOOKS), codes=codes)
    assert np.allclose(dequantize(q), got.values, rtol=1e-6, atol=0)


def test_updated_weights_make_good_the_rounded_blocks() -> None:
    """They are the least-squares answer to the errors so far: w2' = w2 + (w1 - q1) H12 H22^-1 on the damped Hessian."""
    weight, statistics = random_weight(1, 24, 90), random_statistics(1, 24, 90)
    damped = statistics.hessian.astype(float) + 0.01 * np.diag(statistics.hessian).mean() * np.eye(90)
    order = activation_order(np.diagonal(statistics.hessian).copy(), 30)
    levels, seen = np.linspace(-0.2, 0.2, 9, dtype=np.float32) * np.ones((24, 1, 1), np.float32), []

    def look(_index, columns, updated):
        seen.append((columns, updated()))
        return levels

    made = compensate(weight, factorize(statistics.hessian, order), look)
    for index, (columns, got) in enumerate(seen):
        done = np.concatenate([np.empty(0, int), *order[:index]])
        later = np.concatenate(order[index:])
        error = weight[:, done].astype(float) - made.values[:, done]
        moved = weight[:, later] + error @ damped[np.ix_(done, later)] @ np.linalg.inv(damped[np.ix_(later, later)])
        np.testing.assert_allclose(got, moved[:, : columns.size], rtol=1e-3, atol=2e-5)


def test_weights_above_the_limit_are_kept_and_the_others_are_not() -> None:
    weight, statistics = random_weight(2, 24, 90), random_statistics(2, 24, 90)
    factor = factorize(statistics.hessian, natural_order(90, 30))
    levels = np.linspace(-0.1, 0.1, 5, dtype=np.float32) * np.ones((24, 1, 1), np.float32)
    plain = compensate(weight, factor, lambda *_: levels)
    free = compensate(weight, factor, lambda *_: levels, keep_above=np.inf)
    assert plain.kept is None and free.kept is not None and not free.kept.any()
    np.testing.assert_array_equal(plain.values, free.values)
    some = compensate(weight, factor, lambda *_: levels, keep_above=float(plain.loss.mean() / 30))
    assert some.kept is not None and 0 < some.kept.mean() < 0.5 and not some.codes[some.kept].any()
    assert np.isin(some.values[~some.kept], levels[0, 0]).all() and some.loss.sum() < 0.8 * plain.loss.sum()


def test_orders_by_hand() -> None:
    diagonal = np.array([1, 5, 2, 9, 3], np.float32)
    assert [b.tolist() for b in natural_order(5, 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in activation_order_by_tile(diagonal, 2)] == [[3, 2], [1, 0], [4]]
    assert [b.tolist() for b in activation_order(diagonal, 2)] == [[3, 1], [4, 2], [0]]


def test_dead_inputs_are_rounded_to_nearest() -> None:
    weight, statistics = random_weight(6, 8, 32), random_statistics(6, 8, 32)
    hessian = statistics.hessian.copy()
    hessian[5] = hessian[:, 5] = 0
    levels = np.linspace(-0.05, 0.05, 11, dtype=np.float32) * np.ones((8, 1, 1), np.float32)
    made = compensate(weight, factorize(hessian, natural_order(32, 16)), lambda *_: levels)
    assert np.array_equal(made.values[:, 5], levels[0, 0][np.argmin(np.abs(weight[:, 5, None] - levels[0, 0]), axis=1)])


def test_no_input_at_all() -> None:
    factor = factorize(np.zeros((8, 8), np.float32), natural_order(8, 4))
    assert np.array_equal(factor.unit, np.eye(8, dtype=np.float32))


def test_damping_rises_where_it_must() -> None:
    hessian = np.array([[1, 1.05], [1.05, 1]], np.float32)  # indefinite: calibration noise may do that
    factor = factorize(hessian, natural_order(2, 2))
    assert factor.damping == pytest.approx(0.1)
    with pytest.raises(InputError, match="and is not even if 10 times"):
        factorize(np.array([[1, 90], [90, 1]], np.float32), natural_order(2, 2))


@pytest.mark.parametrize(
    ("hessian", "blocks", "damping", "sentence"),
    [
        (np.eye(3), [np.array([0, 1])], 0.01, "column blocks of mlp must hold every one of 3 inputs once"),
        (np.full((2, 2), np.nan), [np.arange(2)], 0.01, "Hessian of mlp must be finite and not negative, and is not"),
        (np.eye(2), [np.arange(2)], 0.0, "damping of mlp must be positive, not 0.0"),
    ],
)
def test_refusals(hessian, blocks, damping, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        factorize(hessian.astype(np.float32), blocks, damping=damping, layer="mlp")
