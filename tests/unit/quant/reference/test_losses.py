"""Losses measured directly, against sums written out."""

import numpy as np
import pytest

from haloquant.quant.reference.losses import fisher_losses, hessian_loss
from haloquant.records import TileGrid
from support.quant_twins import random_statistics, random_weight


def test_losses_written_out() -> None:
    weight, statistics = random_weight(1, 5, 7), random_statistics(1, 5, 7)
    values = (weight + np.random.default_rng(2).standard_normal((5, 7)) * 0.01).astype(np.float32)
    error = (weight - values).astype(np.float64)
    fisher, hessian = statistics.fisher.astype(np.float64), statistics.hessian.astype(np.float64)
    assert fisher_losses(weight, values, statistics, TileGrid(5, 7, 2, 3)).sum() == pytest.approx(
        0.5 * float(np.sum(fisher * error**2)), rel=1e-5
    )
    assert np.allclose(hessian_loss(weight, values, statistics.hessian), [e @ hessian @ e for e in error], rtol=1e-4)
