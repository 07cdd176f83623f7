"""Importance of weights and sensitivity of tiles, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.hessian import hessian_importance
from haloquant.quant.sensitivity import fisher_importance, importance, layer_fisher, tile_scores, uniform_importance
from haloquant.records import LayerStatistics, TileGrid
from support.quant_twins import random_statistics


def test_scores_are_means_over_the_tile_cut_short_ones_too() -> None:
    fisher = np.arange(15, dtype=np.float32).reshape(3, 5)
    grid = TileGrid(3, 5, 2, 2)
    # Tiles of rows 0-1 and row 2; columns 0-1, 2-3 and 4.
    assert tile_scores(fisher, grid).tolist() == [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]


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


def test_missing_fisher() -> None:
    with pytest.raises(InputError, match="layer 'layer': importance by gradients needs the diagonal Fisher, not stat"):
        fisher_importance(LayerStatistics("layer", 0))
    with pytest.raises(InputError, match="the Fisher must be 2 x 2, not 1 x 2; the statistics belong to another layer"):
        layer_fisher(LayerStatistics("layer", 1, fisher=np.ones((1, 2), np.float32)), method="a test", shape=(2, 2))


def test_statistics_that_are_not_finite() -> None:
    broken = LayerStatistics("layer", 1, fisher=np.array([[np.nan, 1.0]], np.float32))
    with pytest.raises(InputError, match="statistics of layer must be finite, not NaN or infinite"):
        importance(broken, 2)
