"""How weights stand on pins."""

import numpy as np
import pytest

from haloquant.circuits.ports import MacPorts, stored_digits, weight_pins, weight_values
from haloquant.errors import NetlistError

STORED = MacPorts(weight_bits=12, encoding="booth_digits")
SIGNED = MacPorts(encoding="sign_magnitude")


def test_twos_complement_pins_are_the_bits():
    values = np.array([-128, -1, 0, 1, 64, 127], dtype=np.int16)
    pins = weight_pins(MacPorts(), values)
    assert (pins @ np.array([1, 2, 4, 8, 16, 32, 64, -128]) == values).all()


def test_sign_magnitude_has_no_minus_128():
    assert weight_values(SIGNED).tolist() == list(range(-127, 128))
    pins = weight_pins(SIGNED, np.array([-5, 5], dtype=np.int16))
    assert pins.astype(int).tolist() == [[1, 0, 1, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0, 0, 0]]


def test_stored_digits_mean_the_value_and_are_the_shortest():
    values = weight_values(STORED).astype(np.int64)
    digits = stored_digits(values, 4)
    assert (digits @ np.array([1, 4, 16, 64]) == values).all()
    lone = values[(digits != 0).sum(axis=1) <= 1]
    assert lone.tolist() == [-128, -64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64]


def test_stored_digits_stand_as_one_two_negative():
    pins = weight_pins(STORED, np.array([-128, 1, 0], dtype=np.int16)).astype(int)
    assert pins.tolist() == [[0] * 9 + [0, 1, 1], [1, 0, 0] + [0] * 9, [0] * 12]


def test_a_value_beyond_the_pins_is_refused():
    with pytest.raises(NetlistError, match=r"a weight must be -127 to 127 in this MAC, not -128"):
        weight_pins(SIGNED, np.array([-128], dtype=np.int16))
