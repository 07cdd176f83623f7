"""Predicted loss per tile, against sums written out."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.kronecker_loss import kronecker_losses, row_factor
from haloquant.quant.reference.losses import fisher_losses
from haloquant.records import LayerStatistics, TileGrid
from support.quant_twins import random_statistics, random_weight


def test_losses_written_out() -> None:
    weight, statistics = random_weight(1, 5, 7), random_statistics(1, 5, 7)
    values = (weight + np.random.default_rng(2).standard_normal((5, 7)) * 0.01).astype(np.float32)
    grid = TileGrid(5, 7, 2, 3)
    error = (weight - values).astype(np.float64)
    fisher, hessian = statistics.fisher.astype(np.float64), statistics.hessian.astype(np.float64)
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
        fisher_losses(weight, values, statistics, grid), kronecker_losses(weight, values, statistics, grid)
    )


def test_missing_hessian() -> None:
    with pytest.raises(InputError, match="layer 'layer': the predicted loss of tiles needs the layer Hessian"):
        row_factor(LayerStatistics("layer", 0))
