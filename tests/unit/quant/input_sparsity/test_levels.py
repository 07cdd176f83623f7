"""The choice of levels against all combinations."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.input_sparsity.levels import allocate_levels, levels_around
from haloquant.quant.reference import input_sparsity as loops


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.66])
def test_no_combination_is_better(sparsity: float) -> None:
    generator = np.random.default_rng(round(100 * sparsity))
    levels = (0.0, 0.25, 0.5, 0.7)
    for _ in range(5):
        loss = np.sort(generator.gamma(0.5, size=(5, 4)), axis=1) * generator.uniform(0.1, 10, (5, 1))
        macs = generator.integers(10, 100, 5).astype(np.float64)
        found = allocate_levels(loss, macs, levels, sparsity)
        best = loops.best_levels(loss.tolist(), macs.tolist(), levels, sparsity)
        total = [sum(row[levels.index(level)] for row, level in zip(loss, some, strict=True)) for some in (found, best)]
        assert total[0] == pytest.approx(total[1], rel=1e-9)
        assert float(macs @ np.array(found)) >= sparsity * macs.sum() * (1 - 1e-8)


def test_the_level_of_the_whole_model_is_among_those_that_are_measured() -> None:
    assert levels_around(0.55) == (0.0, 0.25, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)
    assert levels_around(0.5) == (0.0, 0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5])
def test_sparsities_that_are_refused(sparsity: float) -> None:
    with pytest.raises(InputError, match=r"^the sparsity of inputs must be 0 to 0\.95, not"):
        allocate_levels(np.zeros((1, 2)), np.ones(1), (0.0, 0.5), sparsity)
