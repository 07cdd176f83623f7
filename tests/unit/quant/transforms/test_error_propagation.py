"""The corrected weight against least squares."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.transforms import error_propagation
from support.calibrated_layer import calibrated_layer


def test_target_is_the_least_squares_weight_for_the_inputs_that_come():
    weight, x, _ = calibrated_layer()
    noisy = (x + np.random.default_rng(3).normal(size=x.shape) * 0.5).astype(np.float32)
    scale = 2 / len(x)
    cross, hessian = (scale * x.T @ noisy).astype(np.float32), (scale * noisy.T @ noisy).astype(np.float32)
    found = error_propagation.target(weight, cross, hessian, layer="l", damping=0.0)
    direct = np.linalg.lstsq(noisy.astype(np.float64), x.astype(np.float64) @ weight.T, rcond=None)[0].T
    np.testing.assert_allclose(found, direct, atol=1e-3)
    same = (scale * x.T @ x).astype(np.float32)
    np.testing.assert_allclose(error_propagation.target(weight, same, same, layer="l"), weight, atol=1e-6)
    # Strong damping trusts the weight as it is.
    np.testing.assert_allclose(
        error_propagation.target(weight, cross, hessian, layer="l", damping=1e6), weight, atol=1e-4
    )


def test_sentences():
    weight, _, statistics = calibrated_layer()
    with pytest.raises(InputError, match=r"cross statistics must be 48 x 48, not \(2, 2\)"):
        error_propagation.target(weight, np.eye(2, dtype=np.float32), statistics.hessian, layer="l")
