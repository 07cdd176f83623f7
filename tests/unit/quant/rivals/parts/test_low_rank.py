"""Low-rank branches against the singular value decomposition."""

import numpy as np
import pytest

from haloquant.quant.rivals.parts import low_rank
from support.calibrated_layer import calibrated_layer


@pytest.mark.parametrize("shape", [(7, 12), (12, 7)])
def test_closest_branch_is_the_truncated_svd(shape):
    error = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    u, s, v = np.linalg.svd(error)
    direct = u[:, :3] * s[:3] @ v[:3]
    np.testing.assert_allclose(low_rank.closest(error, 3).product, direct, atol=5e-3)


def test_closest_output_beats_the_plain_svd_and_any_other_branch_on_the_output():
    weight, x, statistics = calibrated_layer()
    best = low_rank.closest_output(weight, statistics.hessian, 4, damping=1e-6).product
    s = np.linalg.svd(weight @ x.T, compute_uv=False)
    bound = float((s[4:] ** 2).sum())  # Eckart-Young on the output itself
    loss = float((((best - weight) @ x.T) ** 2).sum())
    assert bound <= loss * (1 + 1e-5) and loss <= bound * 1.01
    plain = low_rank.closest(weight, 4).product
    assert loss < float((((plain - weight) @ x.T) ** 2).sum())
