"""Error compensation against GPTQ by the paper, and coordinate descent after it."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import threadpoolctl

from haloquant.errors import InputError
from haloquant.quant.layer import dequantize, quantize_weight, quantize_weight_compensated
from haloquant.quant.rounding.compensation import (
    compensate,
    factorize,
    free_blocks,
    hessian_loss,
    natural_blocks,
    ordered_blocks,
)
from haloquant.quant.rounding.levels import codes_of_levels, level_table
from haloquant.quant.rounding.refinement import SHARE, quantize_weight_refined, refine
from haloquant.quant.sparse import mask_of, none, split
from support.quant_twins import NINE, SIXTEEN, gptq_by_the_paper, random_statistics, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)
ORDERS = {"natural": lambda d, n: natural_blocks(d.size, n), "ordered": ordered_blocks, "free": free_blocks}


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
    codes = codes_of_levels(got.codes, scale, tiles, BOOKS, none(24))
    q = replace(quantize_weight(weight, tiles=tiles, codebooks=BOOKS), codes=codes)
    assert np.allclose(dequantize(q), got.values, rtol=1e-6, atol=0)


def test_orders_by_hand() -> None:
    diagonal = np.array([1, 5, 2, 9, 3], np.float32)
    assert [b.tolist() for b in natural_blocks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert [b.tolist() for b in ordered_blocks(diagonal, 2)] == [[3, 2], [1, 0], [4]]
    assert [b.tolist() for b in free_blocks(diagonal, 2)] == [[3, 1], [4, 2], [0]]


def test_each_step_lowers_the_loss() -> None:
    weight, statistics = random_weight(3, 64, 128), random_statistics(3, 64, 128)
    tiles = tile_map(weight.shape, 32, 32, 1)
    nearest = quantize_weight(weight, tiles=tiles, codebooks=BOOKS, statistics=statistics)
    moved = quantize_weight_compensated(weight, tiles=tiles, codebooks=BOOKS, statistics=statistics)
    refined = refine(weight, moved, statistics.hessian)
    losses = [hessian_loss(weight, dequantize(q), statistics.hessian).sum() for q in (nearest, moved, refined)]
    assert losses[0] > 1.1 * losses[1] > 1.1 * 1.02 * losses[2]
    at_once = quantize_weight_refined(weight, tiles=tiles, codebooks=BOOKS, statistics=statistics)
    again = refine(weight, moved, statistics.hessian, sweeps=1, share=SHARE)
    assert np.array_equal(at_once.codes, again.codes)
    args = {"tiles": tiles, "codebooks": BOOKS, "statistics": statistics}
    assert np.array_equal(quantize_weight_refined(weight, share=0.0, **args).codes, moved.codes)
    # The words of a float16 scale, still.
    assert np.array_equal(refined.scale, refined.scale.astype(np.float16).astype(np.float32))


def test_refinement_never_raises_the_damped_loss_of_a_row() -> None:
    weight, statistics = random_weight(4, 40, 70), random_statistics(4, 40, 70)
    hessian = statistics.hessian
    damped = hessian + 0.01 * np.trace(hessian) / 70 * np.eye(70, dtype=np.float32)
    sparse, _ = split(weight, statistics, budget=0.02)
    q = quantize_weight(weight, tiles=tile_map(weight.shape, 32, 32), codebooks=BOOKS, sparse=sparse)
    before = hessian_loss(weight, dequantize(q), damped)
    after = hessian_loss(weight, dequantize(refine(weight, q, hessian)), damped)
    assert np.all(after <= before * (1 + 1e-5))
    assert after.sum() < 0.8 * before.sum()


def test_refinement_of_a_share_visits_the_tiles_that_lose_most() -> None:
    weight, statistics = random_weight(9, 40, 96), random_statistics(9, 40, 96)
    loud = np.ones(96, np.float32)
    loud[32:64] = 30  # the middle tiles hear more, and so lose more
    hessian = statistics.hessian * np.outer(loud, loud)
    q = quantize_weight(weight, tiles=tile_map(weight.shape, 32, 32), codebooks=BOOKS)
    some = refine(weight, q, hessian, sweeps=1, share=0.34)
    same = (some.codes == q.codes).all(axis=0)
    assert same[:32].all() and same[64:].all() and not same[32:64].all()
    damped = hessian + 0.01 * np.trace(hessian) / 96 * np.eye(96, dtype=np.float32)
    before, after, best = (
        hessian_loss(weight, dequantize(x), damped).sum() for x in (q, some, refine(weight, q, hessian, sweeps=1))
    )
    assert best < after < before


def test_tiles_refined_together_are_as_if_one_by_one(monkeypatch) -> None:
    weight, statistics = random_weight(10, 24, 150), random_statistics(10, 24, 150)
    sparse, _ = split(weight, statistics, budget=0.02)
    q = quantize_weight(weight, tiles=tile_map(weight.shape, 32, 32), codebooks=BOOKS, sparse=sparse)
    together = refine(weight, q, statistics.hessian)
    monkeypatch.setattr("haloquant.quant.rounding.refinement._WIDTH", 32)
    single = refine(weight, q, statistics.hessian)
    # Float32 sums in another order: a code at a tie may fall to the other side.
    assert np.mean(together.codes != single.codes) < 0.01
    losses = [hessian_loss(weight, dequantize(x), statistics.hessian).sum() for x in (together, single)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


def test_sparse_weights_take_part() -> None:
    weight, statistics = random_weight(5, 32, 64, 3.0), random_statistics(5, 32, 64)
    sparse, mask = split(weight, statistics, budget=0.02)
    tiles = tile_map(weight.shape, 32, 32, 1)
    args = {"tiles": tiles, "codebooks": BOOKS, "statistics": statistics}
    q = quantize_weight_compensated(weight, sparse=sparse, **args)
    assert np.array_equal(mask_of(q.sparse, 64), mask)
    assert np.all(BOOKS[1].values[q.codes[mask]] == 0)
    without = quantize_weight_compensated(weight, **args)
    losses = [
        hessian_loss(weight, dequantize(x), statistics.hessian).sum()
        for x in (without, q, refine(weight, q, statistics.hessian))
    ]
    assert losses[0] > losses[1] > losses[2]


def test_dead_inputs_are_rounded_to_nearest() -> None:
    weight, statistics = random_weight(6, 8, 32), random_statistics(6, 8, 32)
    hessian = statistics.hessian.copy()
    hessian[5] = hessian[:, 5] = 0
    levels = np.linspace(-0.05, 0.05, 11, dtype=np.float32) * np.ones((8, 1, 1), np.float32)
    made = compensate(weight, factorize(hessian, natural_blocks(32, 16)), lambda *_: levels)
    assert np.array_equal(made.values[:, 5], levels[0, 0][np.argmin(np.abs(weight[:, 5, None] - levels[0, 0]), axis=1)])


def test_no_input_at_all() -> None:
    factor = factorize(np.zeros((8, 8), np.float32), natural_blocks(8, 4))
    assert np.array_equal(factor.unit, np.eye(8, dtype=np.float32))


def test_damping_rises_where_it_must() -> None:
    hessian = np.array([[1, 1.05], [1.05, 1]], np.float32)  # indefinite: calibration noise may do that
    factor = factorize(hessian, natural_blocks(2, 2))
    assert factor.damping == pytest.approx(0.1)
    with pytest.raises(InputError, match="not indefinite even with 10 times"):
        factorize(np.array([[1, 90], [90, 1]], np.float32), natural_blocks(2, 2))


@pytest.mark.parametrize(
    ("hessian", "blocks", "damping", "sentence"),
    [
        (np.eye(3), [np.array([0, 1])], 0.01, "column blocks of mlp must hold every one of 3 inputs once"),
        (np.full((2, 2), np.nan), [np.arange(2)], 0.01, "Hessian of mlp must be finite and positive, not damaged"),
        (np.eye(2), [np.arange(2)], 0.0, "damping of mlp must be positive, not 0.0"),
    ],
)
def test_refusals(hessian, blocks, damping, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        factorize(hessian.astype(np.float32), blocks, damping=damping, layer="mlp")


def test_the_same_bits_on_any_number_of_threads() -> None:
    weight, statistics = random_weight(8, 300, 700), random_statistics(8, 300, 700, 1000)
    made = []
    for threads in (1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        with threadpoolctl.threadpool_limits(threads):
            q = quantize_weight_compensated(
                weight, tiles=tile_map(weight.shape, 128, 128), codebooks=BOOKS, statistics=statistics
            )
            q = refine(weight, q, statistics.hessian, sweeps=1)
            made.append((q.codes, q.scale))
    for one, two in zip(*made, strict=True):
        assert np.array_equal(one, two)
