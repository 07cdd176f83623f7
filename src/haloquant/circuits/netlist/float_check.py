"""Check that a netlist adds the exact product of two floating-point numbers to a third and rounds once.

The reference is exact arithmetic with fractions. Numbers are bit patterns: sign, exponent, fraction.
"""

from fractions import Fraction

import numpy as np
from jaxtyping import Int64

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.logic_check import evaluate_mac
from haloquant.circuits.netlist.parser import Netlist
from haloquant.errors import NetlistError

OPERANDS = 4096
_NEAR = 6  # most exponents are drawn so near to the middle, where sums cancel and round


def check_float(netlist: Netlist, library: Library, seed: int = 0) -> int:
    """Check the netlist on drawn operands, and return how many triples were tried.

    Raises:
        NetlistError: A result is wrong; the message gives one counterexample.
    """
    exponent_bits, fraction_bits = netlist.ports.floating
    sum_fraction = netlist.ports.result_bits - 1 - exponent_bits
    weight, activation, partial = drawn_operands(exponent_bits, fraction_bits, sum_fraction, seed)
    signed = weight - ((weight >> (exponent_bits + fraction_bits)) << (1 + exponent_bits + fraction_bits))
    found = evaluate_mac(netlist, library, signed.astype(np.int16), activation, partial)
    found &= (1 << netlist.ports.result_bits) - 1
    triples = zip(weight.tolist(), activation.tolist(), partial.tolist(), found.tolist(), strict=True)
    for one, other, addend, result in triples:
        exact = sum_of(one, other, addend, exponent_bits, fraction_bits, sum_fraction)
        if result != exact:
            raise NetlistError(
                f"{netlist.name} must round weight * activation + partial, but gives {result:#x} for "
                f"{one:#x} * {other:#x} + {addend:#x}, not {exact:#x}"
            )
    return OPERANDS


def sum_of(
    weight: int, activation: int, partial: int, exponent_bits: int, fraction_bits: int, sum_fraction: int
) -> int:
    """Return the bit pattern of the rounded weight * activation + partial, all given as bit patterns."""
    product = number_of(weight, exponent_bits, fraction_bits) * number_of(activation, exponent_bits, fraction_bits)
    return pattern_of(product + number_of(partial, exponent_bits, sum_fraction), exponent_bits, sum_fraction)


def number_of(pattern: int, exponent_bits: int, fraction_bits: int) -> Fraction:
    """Return the number that a bit pattern stands for; subnormal numbers are zero."""
    exponent = pattern >> fraction_bits & ((1 << exponent_bits) - 1)
    if not exponent:
        return Fraction(0)
    bias = (1 << (exponent_bits - 1)) - 1
    size = Fraction((1 << fraction_bits) + pattern % (1 << fraction_bits), 1 << fraction_bits)
    return size * Fraction(2) ** (exponent - bias) * (-1) ** (pattern >> (exponent_bits + fraction_bits))


def pattern_of(number: Fraction, exponent_bits: int, fraction_bits: int) -> int:
    """Return the bit pattern of a number, rounded to nearest and ties to even.

    Below the normal range it is +0. Above the range the exponent is all ones and the fraction 0.
    """
    if not number:
        return 0
    size = abs(number)
    power = size.numerator.bit_length() - size.denominator.bit_length()
    power -= size < Fraction(2) ** power
    rounded = round(size / Fraction(2) ** power * (1 << fraction_bits))
    if rounded == 2 << fraction_bits:
        rounded, power = rounded >> 1, power + 1
    exponent, top = power + (1 << (exponent_bits - 1)) - 1, (1 << exponent_bits) - 1
    if exponent <= 0:
        return 0
    sign = int(number < 0) << (exponent_bits + fraction_bits)
    if exponent >= top:
        return sign | (top << fraction_bits)
    return sign | (exponent << fraction_bits) | (rounded % (1 << fraction_bits))


def drawn_operands(
    exponent_bits: int, fraction_bits: int, sum_fraction: int, seed: int = 0, count: int = OPERANDS
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return bit patterns of weights, activations and partial sums.

    Half of the exponents are near the middle, and most partial sums are near the product or its negative, so that sums
    cancel, carry and round. A few operands are zero. There are no infinities, NaNs or subnormal numbers.
    """
    random, most, bias = np.random.default_rng(seed), (1 << exponent_bits) - 2, (1 << (exponent_bits - 1)) - 1

    def draw(exponent: Int64[np.ndarray, " n"], bits: int) -> Int64[np.ndarray, " n"]:
        fraction = random.integers(0, 1 << bits, count)
        fraction[random.random(count) < 0.2] = 0
        fraction[exponent == 0] = 0
        return (random.integers(0, 2, count) << (exponent_bits + bits)) | (exponent << bits) | fraction

    def exponents() -> Int64[np.ndarray, " n"]:
        near = bias + random.integers(-_NEAR, _NEAR + 1, count)
        return np.clip(np.where(random.random(count) < 0.5, near, random.integers(0, most + 1, count)), 0, most)

    first, second = exponents(), exponents()
    weight, activation = draw(first, fraction_bits), draw(second, fraction_bits)
    partial = draw(
        np.clip(first + second - bias + random.integers(-sum_fraction - 4, sum_fraction + 5, count), 0, most),
        sum_fraction,
    )
    for i in np.flatnonzero(random.random(count) < 0.3).tolist():
        first_number = number_of(int(weight[i]), exponent_bits, fraction_bits)
        product = first_number * number_of(int(activation[i]), exponent_bits, fraction_bits)
        near = pattern_of(-product, exponent_bits, sum_fraction)
        if near and (near >> sum_fraction & (most + 1)) <= most:
            partial[i] = near ^ int(random.choice([0, 1, 2, 1 << (sum_fraction - 1)]))
    infinite = (partial >> sum_fraction & (most + 1)) == most + 1
    return weight, activation, np.where(infinite, 0, partial)
