"""The rounding of SmoothQuant's rows. The whole table is made in tests/e2e/test_paper_command.py."""

import numpy as np
import pytest

from haloquant.jobs.paper.model_table import round_scaled
from haloquant.quant.rounding.uniform_grid import GridSpec, round_to_grid


def test_a_smoothed_weight_is_rounded_at_the_scaled_input() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    scale = np.float32(2.0) ** np.arange(-4, 4, dtype=np.float32)
    made = round_scaled("l", weight, scale, 4)
    spec = GridSpec(4, None, "symmetric")
    assert made * scale == pytest.approx(round_to_grid(weight * scale, spec)[0], abs=1e-6)
    assert np.array_equal(round_scaled("l", weight, None, 4), round_to_grid(weight, spec)[0])
