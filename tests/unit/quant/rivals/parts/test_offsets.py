"""Offsets against least squares on the group sums."""

import numpy as np

from haloquant.quant.rivals import rtn
from haloquant.quant.rivals.parts import offsets
from support.calibrated_layer import calibrated_layer, output_error


def test_offsets_are_the_least_squares_fit_on_the_group_sums():
    weight, x, statistics = calibrated_layer()
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(3, 16), layer="l")
    moved = offsets.with_offsets(plain, weight, statistics, 16, damping=0.0)
    sums = np.stack([x[:, g : g + 16].sum(1) for g in (0, 16, 32)], axis=1)
    direct = np.linalg.lstsq(sums.astype(np.float64), x @ (weight - plain.weight).T, rcond=None)[0].T
    np.testing.assert_allclose((moved.weight - plain.weight)[:, ::16], direct, atol=2e-4)
    assert output_error(moved, weight, x) < output_error(plain, weight, x)
    assert moved.mac_values is plain.mac_values
    assert moved.bits.total - plain.bits.total == 16 * 20 * 3
