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


def paired(x, noisy):
    """Moments of even rows as the first half and of odd rows as the second."""
    parts = []
    for half in (slice(0, None, 2), slice(1, None, 2)):
        a, b = x[half].astype(np.float64), noisy[half].astype(np.float64)
        parts += [(2 / len(a) * b.T @ b).astype(np.float32), (2 / len(a) * a.T @ b).astype(np.float32)]
    return error_propagation.PairedInputs("l", *parts)


def held_error(weight, made, x, noisy):
    odd = slice(1, None, 2)
    return float(((x[odd] @ weight.T - noisy[odd] @ made.T) ** 2).sum())


def test_a_damping_is_chosen_on_tokens_that_did_not_make_the_target():
    weight, x, _ = calibrated_layer(tokens=4000)
    noisy = (x + np.random.default_rng(3).normal(size=x.shape) * 0.5).astype(np.float32)
    inputs = paired(x, noisy)
    made, damping = error_propagation.held_out_target(weight, inputs, lambda value: value)
    errors = {
        one: held_error(
            weight, error_propagation.target(weight, inputs.cross, inputs.hessian, layer="l", damping=one), x, noisy
        )
        for one in error_propagation.DAMPINGS
    }
    assert damping == min(errors, key=lambda one: errors[one])
    both = error_propagation.target(weight, inputs.all_cross, inputs.all_hessian, layer="l", damping=damping)
    np.testing.assert_array_equal(made, both)
    assert held_error(weight, made, x, noisy) < 0.9 * held_error(weight, weight, x, noisy)


def test_the_weight_stays_where_no_damping_helps():
    weight, x, _ = calibrated_layer(tokens=60)  # fewer tokens than a held-out half needs
    noisy = (x + np.random.default_rng(3).normal(size=x.shape) * 0.01).astype(np.float32)
    made, damping = error_propagation.held_out_target(weight, paired(x, noisy), lambda value: value, (1e-4,))
    assert damping == np.inf and made is weight


def test_sentences():
    weight, _, statistics = calibrated_layer()
    with pytest.raises(InputError, match=r"cross statistics must be 48 x 48, not \(2, 2\)"):
        error_propagation.target(weight, np.eye(2, dtype=np.float32), statistics.hessian, layer="l")
