"""Rows of bits: their sum is the product of every pair of operands."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from haloquant.circuits.rtl.adder_trees import ONE, GateWriter, Row
from haloquant.circuits.rtl.partial_products import (
    baugh_wooley,
    bits,
    booth,
    booth_multiples,
    encode_booth,
    magnitude_rows,
    sign_extended,
    sign_magnitude,
    stored_digits,
)
from support.verilog_gates import evaluate_writer, port_values, signed_operands, sum_of_rows


def _booth_of_the_weight(writer: GateWriter, weight: Sequence[str], activation: Sequence[str], width: int) -> list[Row]:
    return booth(writer, encode_booth(writer, weight), activation, width)


def _multiples_of_the_weight(
    writer: GateWriter, weight: Sequence[str], activation: Sequence[str], width: int
) -> list[Row]:
    return booth_multiples(writer, encode_booth(writer, activation), weight, width)


@pytest.mark.parametrize(
    "make", [sign_extended, baugh_wooley, magnitude_rows, _booth_of_the_weight, _multiples_of_the_weight]
)
@pytest.mark.parametrize("widths", [(4, 4), (5, 3), (3, 6), (2, 2)])
def test_rows_of_twos_complement_weights_sum_to_the_product(
    make: Callable[..., list[Row]], widths: tuple[int, int]
) -> None:
    weight, activation = signed_operands(*widths)
    width = sum(widths)
    writer = GateWriter()
    rows = make(writer, bits("w", widths[0]), bits("a", widths[1]), width)
    nets = evaluate_writer(writer, port_values("w", widths[0], weight) | port_values("a", widths[1], activation))
    assert np.array_equal(sum_of_rows(rows, nets, width), weight * activation % (1 << width))


def test_a_multiple_keeps_the_trailing_zeros_of_the_weight_in_every_row() -> None:
    """For w = 4 and any activation, no bit of a row below column 2 k + 2 is ever 1; with `booth` ~w + 1 fills them."""
    writer, activation = GateWriter(), np.arange(-8, 8)
    rows = booth_multiples(writer, encode_booth(writer, bits("a", 4)), bits("w", 4), 8)
    inputs = port_values("w", 4, np.full(16, 4)) | port_values("a", 4, activation)
    nets = evaluate_writer(writer, inputs)
    low = [net for k, row in enumerate(rows[:2]) for at, net in row.items() if at < 2 * k + 2]
    assert low and not any(nets[net].any() for net in low)
    again = GateWriter()
    inverting = booth(again, encode_booth(again, bits("a", 4)), bits("w", 4), 8)
    nets = evaluate_writer(again, inputs)
    assert any(nets[net].any() for at, net in inverting[0].items() if at < 2)


def test_rows_of_sign_and_magnitude_sum_to_the_product() -> None:
    pins, activation = (grid.ravel() for grid in np.meshgrid(np.arange(16), np.arange(-8, 8)))
    weight = (pins & 7) * np.where(pins & 8, -1, 1)
    writer = GateWriter()
    rows = sign_magnitude(writer, bits("w", 4), bits("a", 4), 8)
    nets = evaluate_writer(writer, port_values("w", 4, pins) | port_values("a", 4, activation))
    assert np.array_equal(sum_of_rows(rows, nets, 8), weight * activation % 256)


@pytest.mark.parametrize("width", [4, 5, 8])
def test_booth_digits_give_the_weight_back(width: int) -> None:
    """w = sum of 4**k times a digit of -2 to 2 (Booth, 1951; MacSorley, 1961)."""
    weight = np.arange(-(1 << width - 1), 1 << width - 1)
    writer = GateWriter()
    digits = encode_booth(writer, bits("w", width))
    nets = evaluate_writer(writer, port_values("w", width, weight))
    value = np.zeros(weight.size, np.int64)
    for k, (one, two, negative) in enumerate(digits):
        magnitude = nets[one].astype(int) + 2 * nets[two]
        assert not (nets[one] & nets[two]).any()
        assert not (nets[negative] & (magnitude == 0)).any()
        value += 4**k * np.where(nets[negative], -magnitude, magnitude)
    assert np.array_equal(value, weight)


def test_stored_digits_multiply_like_the_weight_that_they_store() -> None:
    """Two digits: (one, two, negative) at the pins 0 to 2 and 3 to 5."""
    one_digit = np.array([0b000, 0b001, 0b010, 0b101, 0b110])
    value = np.array([0, 1, 2, -1, -2])
    low, high, activation = (grid.ravel() for grid in np.meshgrid(np.arange(5), np.arange(5), np.arange(-8, 8)))
    pins, weight = one_digit[low] | one_digit[high] << 3, value[low] + 4 * value[high]
    writer = GateWriter()
    rows = booth(writer, stored_digits("w", 6), bits("a", 4), 8)
    nets = evaluate_writer(writer, port_values("w", 6, pins) | port_values("a", 4, activation))
    assert np.array_equal(sum_of_rows(rows, nets, 8), weight * activation % 256)


def test_a_port_of_one_bit_has_no_index() -> None:
    assert bits("a", 1) == ["a"]
    assert bits("a", 3) == ["a[0]", "a[1]", "a[2]"]


def test_the_correction_of_baugh_and_wooley_is_constant() -> None:
    """For 4 x 4 bits: 2**3 + 2**3 - 2**7 = 16 + 128 modulo 256."""
    rows = baugh_wooley(GateWriter(), bits("w", 4), bits("a", 4), 8)
    assert sorted(at for row in rows for at, net in row.items() if net == ONE) == [4, 7]
