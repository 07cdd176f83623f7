"""Coordinate descent after compensation."""

import numba
import numpy as np
import pytest
import threadpoolctl
from numba import get_num_threads, set_num_threads

from haloquant.quant.format.packing import pack
from haloquant.quant.layer import dequantize, quantize_weight, quantize_weight_compensated
from haloquant.quant.reference.losses import hessian_loss
from haloquant.quant.rounding.refinement import DEFAULT_SHARE, default_share, quantize_weight_refined, refine
from haloquant.quant.sparse import mask_of, split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, LayerStatistics, OperatingPoint, TileMap
from support.quant_twins import NINE, SIXTEEN, random_statistics, random_weight, tile_map

BOOKS = (SIXTEEN, NINE)
SLOW = Codebook("slow", np.arange(-8, 8).astype(np.int16), OperatingPoint(0.9, 1e9), 1e-11)


def test_each_step_lowers_the_loss() -> None:
    weight, statistics = random_weight(3, 64, 128), random_statistics(3, 64, 128)
    tiles = tile_map(weight.shape, 32, 32, 1)
    nearest = quantize_weight(weight, tiles=tiles, codebooks=BOOKS, statistics=statistics)
    moved = quantize_weight_compensated(weight, tiles=tiles, codebooks=BOOKS, statistics=statistics)
    refined = refine(weight, moved, statistics.hessian)
    losses = [hessian_loss(weight, dequantize(q), statistics.hessian).sum() for q in (nearest, moved, refined)]
    assert losses[0] > 1.1 * losses[1] > 1.1 * 1.02 * losses[2]
    at_once = quantize_weight_refined(weight, tiles=tiles, codebooks=BOOKS, statistics=statistics)
    again = refine(weight, moved, statistics.hessian, sweeps=1, share=DEFAULT_SHARE)
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


def test_by_default_a_layer_is_refined_if_a_tile_has_fewer_than_sixteen_words() -> None:
    grid = make_grid(64, 96, 32, 32)
    classes = np.ones((2, 3), np.uint8)
    assert default_share(TileMap("layer", grid, classes), (NINE, SIXTEEN)) == 0.0
    assert default_share(TileMap("layer", grid, classes), (SIXTEEN, NINE)) == DEFAULT_SHARE
    classes[1, 2] = 0
    assert default_share(TileMap("layer", grid, classes), (NINE, SIXTEEN)) == DEFAULT_SHARE


def test_tiles_refined_together_are_as_if_one_by_one(monkeypatch) -> None:
    weight, statistics = random_weight(10, 24, 150), random_statistics(10, 24, 150)
    sparse, _ = split(weight, statistics, budget=0.02)
    q = quantize_weight(weight, tiles=tile_map(weight.shape, 32, 32), codebooks=BOOKS, sparse=sparse)
    together = refine(weight, q, statistics.hessian)
    monkeypatch.setattr("haloquant.quant.rounding.refinement.WIDTH", 32)
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


@pytest.mark.parametrize("case", ["data-free", "calibrated"])
def test_one_thread_and_two_give_the_same_bytes(case: str) -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((96, 80)).astype(np.float32)
    known = None
    if case == "calibrated":
        inputs = rng.standard_normal((400, 80)).astype(np.float32)
        known = LayerStatistics("l", 400, hessian=inputs.T @ inputs / 400, source="test")
    tiles = uniform_map("l", make_grid(96, 80, 16, 16))
    before, made = get_num_threads(), []
    try:
        for threads in (1, min(2, before)):
            set_num_threads(threads)
            sparse, _ = split(weight, known, layer="l", budget=0.005)
            if known is None:
                q = quantize_weight(weight, tiles=tiles, codebooks=(SLOW,), sparse=sparse)
            else:
                q = quantize_weight_refined(weight, tiles=tiles, codebooks=(SLOW,), statistics=known, sparse=sparse)
            made.append({name: array.tobytes() for name, array in pack(q).items()})
    finally:
        set_num_threads(before)
    if before < 2:
        pytest.skip("needs two threads, and numba was given one")
    assert made[0] == made[1]
