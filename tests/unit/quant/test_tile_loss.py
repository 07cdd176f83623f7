"""Importance, tile sensitivity and predicted loss, by hand and against sums written out."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.sensitivity import (
    fisher_importance,
    hessian_importance,
    importance,
    tile_counts,
    tile_scores,
    uniform_importance,
)
from haloquant.quant.tile_loss import diagonal_losses, fit_scale, kronecker_losses, row_factor
from haloquant.records import LayerStatistics, TileGrid
from support.quant_twins import random_statistics, random_weight


def test_scores_are_means_over_the_tile_cut_short_ones_too() -> None:
    fisher = np.arange(15, dtype=np.float32).reshape(3, 5)
    grid = TileGrid(3, 5, 2, 2)
    # Tiles of rows 0-1 and row 2; columns 0-1, 2-3 and 4.
    assert tile_scores(fisher, grid).tolist() == [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
    assert tile_counts(grid).tolist() == [[4, 4, 2], [2, 2, 1]]


def test_best_importance_there_is() -> None:
    statistics = random_statistics(0, 4, 6)
    assert np.array_equal(importance(statistics, 6), fisher_importance(statistics))
    without = replace(statistics, fisher=None)
    assert np.array_equal(importance(without, 6)[0], np.diagonal(statistics.hessian))
    assert np.array_equal(importance(None, 6), uniform_importance(6))
    assert np.array_equal(importance(LayerStatistics("layer", 0), 6), np.ones((1, 6), np.float32))


def test_a_dead_layer_counts_alike() -> None:
    dead = LayerStatistics("layer", 1, fisher=np.zeros((2, 3), np.float32), hessian=np.zeros((3, 3), np.float32))
    assert np.array_equal(fisher_importance(dead), np.ones((2, 3), np.float32))
    assert np.array_equal(hessian_importance(dead), np.ones((1, 3), np.float32))


def test_losses_written_out() -> None:
    weight, statistics = random_weight(1, 5, 7), random_statistics(1, 5, 7)
    values = (weight + np.random.default_rng(2).standard_normal((5, 7)) * 0.01).astype(np.float32)
    grid = TileGrid(5, 7, 2, 3)
    error = (weight - values).astype(np.float64)
    fisher, hessian = statistics.fisher.astype(np.float64), statistics.hessian.astype(np.float64)
    assert diagonal_losses(weight, values, statistics, grid).sum() == pytest.approx(
        0.5 * float(np.sum(fisher * error**2)), rel=1e-5
    )
    factors = fisher.sum(axis=1) / np.trace(hessian)
    assert np.allclose(row_factor(statistics), factors)
    whole = sum(0.5 * s * e @ hessian @ e for s, e in zip(factors, error, strict=True))
    tiles = kronecker_losses(weight, values, statistics, grid)
    assert tiles.shape == (3, 3)
    assert tiles.sum() == pytest.approx(whole, rel=1e-4)
    # The share of the first tile: its errors times the slopes of all errors.
    share = sum(0.5 * factors[r] * error[r, :3] @ (hessian[:3] @ error[r]) for r in range(2))
    assert tiles[0, 0] == pytest.approx(share, rel=1e-3, abs=1e-9)


def test_both_models_agree_where_inputs_are_independent_and_rows_alike() -> None:
    weight = random_weight(3, 4, 8)
    fisher = np.ones((4, 8), np.float32)
    statistics = LayerStatistics("layer", 1, fisher=fisher, hessian=np.eye(8, dtype=np.float32))
    grid = TileGrid(4, 8, 2, 4)
    values = np.zeros_like(weight)
    assert np.allclose(
        diagonal_losses(weight, values, statistics, grid), kronecker_losses(weight, values, statistics, grid)
    )


def test_fit_by_hand() -> None:
    factor, correlation = fit_scale(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
    assert (factor, correlation) == (pytest.approx(2), pytest.approx(1))
    with pytest.raises(InputError) as caught:
        fit_scale(np.array([1.0]), np.array([1.0]))
    assert str(caught.value) == "loss model must be checked on at least 2 allocations, not 1"


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (fisher_importance, "must hold a Fisher part, not only 'none': calibrate with gradients"),
        (hessian_importance, "must hold a Hessian, not only 'none': calibrate with layer inputs"),
        (row_factor, "must hold a Hessian, not only 'none'"),
    ],
)
def test_missing_parts(ask, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        ask(LayerStatistics("layer", 0))


def test_statistics_that_are_not_finite() -> None:
    broken = LayerStatistics("layer", 1, fisher=np.array([[np.nan, 1.0]], np.float32))
    with pytest.raises(InputError, match="statistics of layer must be finite, not NaN or infinite"):
        importance(broken, 2)
