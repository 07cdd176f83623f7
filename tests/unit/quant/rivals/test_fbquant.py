"""FBQuant: the feedback branch."""

import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import fbquant, rtn
from haloquant.quant.rounding import uniform_grid
from support.calibrated_layer import calibrated_layer, output_error


@pytest.mark.parametrize("bits", [3, 4])
def test_feedback_error_is_at_most_half_a_step_for_any_branch(bits):
    weight, _, _ = calibrated_layer()
    branch = np.random.default_rng(9).normal(size=weight.shape).astype(np.float32) * 10
    spec = uniform_grid.GridSpec(bits, 16, "symmetric")
    dense, _ = uniform_grid.round_to_grid(weight - branch, spec)
    step = np.repeat(uniform_grid.fit(weight - branch, spec).scale, 16, axis=1)
    # A scale rounded down to float16 clips the greatest weight by up to 2^-11 of the range.
    assert (np.abs(dense + branch - weight) <= step * (0.5 + spec.high * 2.0**-11) + 1e-5).all()


def test_no_branch_is_plain_rounding():
    weight, _, statistics = calibrated_layer()
    spec = uniform_grid.GridSpec(4, 16)
    dense, level = uniform_grid.round_to_grid(weight - np.zeros_like(weight), spec)
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(4, 16), layer="l")
    assert dense.tobytes() == plain.weight.tobytes() and level.tobytes() == plain.mac_values.tobytes()


def test_fbquant_lowers_the_output_error_and_pays_for_its_branch():
    weight, x, statistics = calibrated_layer()
    plain = rtn.quantize(weight, statistics, rtn.RtnConfig(3, 16), layer="l")
    result = fbquant.quantize(weight, statistics, fbquant.FbQuantConfig(bits=3, group=16, rank=2), layer="l")
    assert output_error(result, weight, x) < 0.7 * output_error(plain, weight, x)
    assert result.bits.total - plain.bits.total == result.bits.branches == 2 * (20 + 48) * 16


def test_sentences():
    weight, _, statistics = calibrated_layer()
    with pytest.raises(InputError, match="layer 'l': rank must be between 1 and 20, not 21"):
        fbquant.quantize(weight, statistics, fbquant.FbQuantConfig(rank=21), layer="l")
