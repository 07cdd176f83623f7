import numpy as np
import pytest

from haloquant.errors import InputError
from haloquant.quant.rivals import rtn
from haloquant.records import LayerStatistics

NONE = LayerStatistics("l", 0)


def quantize(weight, **config):
    return rtn.quantize(np.asarray(weight, np.float32), NONE, rtn.RtnConfig(**config), layer="l")


def test_symmetric_row_by_hand():
    # Greatest magnitude 14, 4 bits: scale 14 / 7 = 2; 3 / 2 = 1.5 goes to the even 2, -14 / 2 = -7 is the least code.
    result = quantize([[14.0, 3.0, -14.0, 0.9]], bits=4, group=None, scheme="symmetric")
    assert result.mac_values.tolist() == [[7, 2, -7, 0]]
    assert result.weight.tolist() == [[14.0, 4.0, -14.0, 0.0]]


def test_asymmetric_group_by_hand():
    # Range [-1, 6.5], 4 bits: scale 0.5, zero point 2. Second group has no negative weight: its range begins at 0.
    result = quantize([[-1.0, 6.5, 3.2, 0.0, 30.0, 15.0, 2.0, 1.0]], bits=4, group=4)
    assert result.mac_values.tolist() == [[-2, 13, 6, 0, 15, 8, 1, 0]]
    assert result.weight.tolist() == [[-1.0, 6.5, 3.0, 0.0, 30.0, 16.0, 2.0, 0.0]]


def test_bits_are_counted_as_stored():
    result = quantize(np.ones((3, 300)), bits=3, group=128)
    # 300 features are 3 groups (the last cut short); a group stores 16 bits of scale and 3 of zero point.
    assert result.bits.total == 3 * 300 * 3 + 3 * 3 * (16 + 3)
    assert result.bits.weights == 900


def test_a_row_of_zeros_stays_zero():
    result = quantize(np.zeros((2, 5)), bits=4, group=None, scheme="symmetric")
    assert not result.weight.any()


def test_scales_are_float16():
    rng = np.random.default_rng(0)
    result = quantize(rng.normal(size=(4, 256)), bits=4)
    ratio = result.weight[result.mac_values != 0] / result.mac_values[result.mac_values != 0]
    assert np.allclose(ratio, ratio.astype(np.float16), rtol=1e-7)


@pytest.mark.parametrize("scheme", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_error_is_at_most_half_a_step(scheme, bits):
    weight = np.random.default_rng(bits).standard_t(3, size=(8, 200)).astype(np.float32)
    result = quantize(weight, bits=bits, group=64, scheme=scheme)
    for g in range(0, 200, 64):
        part = weight[:, g : g + 64]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        step = (
            (high - low) / (2**bits - 1) if scheme == "asymmetric" else np.maximum(high, -low) / (2 ** (bits - 1) - 1)
        )
        # An asymmetric zero point is an integer, so that the two ends may lie one more half step off.
        slack = 1.01 if scheme == "asymmetric" else 0.51
        assert (np.abs(result.weight[:, g : g + 64] - part) <= slack * step[:, None] + 1e-6).all()


def test_sentences():
    with pytest.raises(InputError, match="layer 'l': bits of a symmetric grid must be between 2 and 8, not 9"):
        quantize([[1.0]], bits=9, scheme="symmetric")
    with pytest.raises(InputError, match="layer 'l': bits of an asymmetric grid must be between 2 and 7, not 8"):
        quantize([[1.0]], bits=8)
    with pytest.raises(InputError, match="group must be at least 1 input feature, not 0"):
        quantize([[1.0]], group=0)
    with pytest.raises(InputError, match="must be finite, not NaN or infinite in 1 of 2 places"):
        quantize([[1.0, np.nan]])
    with pytest.raises(InputError, match="must be at most 65504 in magnitude, as scales are stored in float16, not 7e"):
        quantize([[7e6, 0]], scheme="symmetric")
