"""A scaled input: weight and statistics."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.transforms import awq, input_scaling
from support.calibrated_layer import measured, scaled_inputs_layer


def test_scaled_statistics_are_those_of_the_scaled_input():
    weight, x, statistics = scaled_inputs_layer()
    s = awq.power_scale(statistics.input_absmean, 0.7)
    scaled, direct = input_scaling.scale_statistics(statistics, s), measured(x / s, weight)
    np.testing.assert_allclose(scaled.hessian, direct.hessian, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(scaled.input_absmean, direct.input_absmean, rtol=1e-5)
    np.testing.assert_allclose(scaled.input_absmax, direct.input_absmax, rtol=1e-5)
    # loss(W) = sum(G * W) has gradient G by W; as a function of W' = W s it has gradient G / s.
    np.testing.assert_allclose(scaled.fisher, statistics.fisher / s**2, rtol=1e-5)


def test_scaling_by_one_changes_nothing():
    weight, _, statistics = scaled_inputs_layer()
    one = np.ones(32, np.float32)
    assert input_scaling.scale_weight(weight, one).tobytes() == weight.tobytes()
    np.testing.assert_array_equal(input_scaling.scale_statistics(statistics, one).hessian, statistics.hessian)
    np.testing.assert_array_equal(awq.power_scale(statistics.input_absmean, 0.0), one)


def test_tied_scale_is_one_for_the_heads_of_a_value_head():
    scale = np.array([1, 2, 4, 8, 3, 3, 3, 3], np.float32)  # 4 heads of 2 features, 2 value heads
    tied = input_scaling.tie_repeated(scale, heads=4, kv_heads=2)
    np.testing.assert_allclose(tied, [2, 4, 2, 4, 3, 3, 3, 3], rtol=1e-6)
    with pytest.raises(InputError, match="8 features must be a multiple of 3 heads, and these of 2"):
        input_scaling.tie_repeated(scale, heads=3, kv_heads=2)
