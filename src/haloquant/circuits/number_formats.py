"""Numbers of MACs whose operands or sums are small floats: what bit patterns stand for, and what such a MAC computes.

E4M3 and E5M2 are those of the OCP 8-bit floating point specification (1.0, 2023), with subnormal numbers: E4M3 has the
bias 7, no infinity, and no number where all bits but the sign are 1; E5M2 has the bias 15, and its highest exponent is
for infinity and NaN. Sums are binary16, binary32 (IEEE 754) or bfloat16. Everything is exact, in whole multiples of a
power of two.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float64, Int16, Int64

from haloquant.errors import InputError

OperandFormat = Literal["integer", "e4m3", "e5m2"]
SumFormat = Literal["fixed", "float16", "bfloat16", "float32"]
OPERAND_FORMATS: Final = get_args(OperandFormat)
SUM_FORMATS: Final = get_args(SumFormat)

FLOAT8_BITS: Final = 8
_FRACTION_BITS: Final = {"e4m3": 3, "e5m2": 2}
_UNIT: Final = {"integer": 0, "e4m3": -9, "e5m2": -16}  # power of two of the smallest number above 0
_PAIRS: Final = (
    ("e4m3", "e4m3"), ("e5m2", "e5m2"), ("e4m3", "e5m2"), ("e5m2", "e4m3"), ("e4m3", "integer"), ("e5m2", "integer"),
)  # fmt: skip
_SUMS: Final = {"float16": (5, 10), "bfloat16": (8, 7), "float32": (8, 23)}  # bits of exponent and fraction


def float8_patterns(form: str) -> Int16[np.ndarray, " w"]:
    """Return the bit patterns that are numbers, as signed integers of 8 bits, ascending."""
    every = np.arange(-128, 128, dtype=np.int16)
    magnitude = every & 0x7F
    return every[magnitude < (0x7F if form == "e4m3" else 0x7C)]


def float8_units(patterns: Int64[np.ndarray, " n"], form: str) -> Int64[np.ndarray, " n"]:
    """Return the numbers of bit patterns in units of the smallest one above 0 (2**-9 of E4M3, 2**-16 of E5M2)."""
    bits = _FRACTION_BITS[form]
    exponent = patterns >> bits & (0x7F >> bits)
    significand = (patterns & ((1 << bits) - 1)) | ((exponent > 0).astype(np.int64) << bits)
    size = significand << np.maximum(exponent - 1, 0)
    return np.where(patterns & 0x80, -size, size)


def float8_numbers(patterns: Int64[np.ndarray, " n"], form: str) -> Float64[np.ndarray, " n"]:
    """Return the numbers of bit patterns."""
    return np.ldexp(float8_units(patterns, form).astype(np.float64), _UNIT[form])


def weight_numbers(values: Int16[np.ndarray, " w"], form: str) -> list[int] | list[float]:
    """Return the numbers that the weight values of a profile stand for, in the order of the values."""
    return values.tolist() if form == "integer" else float8_numbers(values.astype(np.int64), form).tolist()


def weight_of(number: int | float, form: str) -> int:
    """Return the weight value of a profile that stands for a number: itself, or a bit pattern (+0 for 0).

    Raises:
        InputError: The format does not hold the number.
    """
    if form == "integer":
        if number != number or not -(1 << 15) <= number < 1 << 15 or number != int(number):
            raise InputError(
                f"a weight value must be a whole number of 16 bits, such as 0, 8 or -8, not {number!r:.80}"
            )
        return int(number)
    patterns = float8_patterns(form)
    held = float8_numbers(patterns.astype(np.int64), form)
    found = patterns[(held == number) & (patterns != -128)]
    if found.size:
        return int(found[0])
    held = np.unique(held)
    near = sorted(held[np.argsort(np.abs(held - number), kind="stable")[:2]].tolist()) if number == number else (0, 1)
    named = " or ".join(f"{each:g}" for each in near)
    raise InputError(f"a weight value must be a number that {form} holds, such as {named}, not {number!r:.80}")


def operand_units(pins: Int64[np.ndarray, " n"], form: str) -> Int64[np.ndarray, " n"]:
    """Return operands in units of their format; whole numbers are themselves."""
    return pins if form == "integer" else float8_units(pins, form)


def product_unit(weight_format: str, activation_format: str) -> int:
    """Return the power of two that bit 0 of an exact product is worth."""
    return _UNIT[weight_format] + _UNIT[activation_format]


def sum_bits_of(form: str) -> int:
    """Return the width of a floating-point sum."""
    return 1 + sum(_SUMS[form])


def sum_number(pattern: int, form: str, flushes: bool) -> tuple[int, int]:
    """Return a finite floating-point sum as (whole number, power of two). With `flushes` a subnormal one is 0."""
    exponent_bits, fraction_bits = _SUMS[form]
    exponent = pattern >> fraction_bits & ((1 << exponent_bits) - 1)
    significand = pattern & ((1 << fraction_bits) - 1)
    if exponent:
        significand |= 1 << fraction_bits
    elif flushes:
        significand = 0
    sign = -1 if pattern >> (exponent_bits + fraction_bits) & 1 else 1
    return sign * significand, max(exponent, 1) - 1 + _least(form)


def sum_pattern(number: int, power: int, form: str, flushes: bool, saturates: bool) -> int:
    """Return the bit pattern of number * 2**power, rounded to nearest and ties to even.

    Beyond the range it is infinity, or with `saturates` the largest number. With `flushes` it is 0 below the normal
    range. There is one zero, +0.
    """
    exponent_bits, fraction_bits = _SUMS[form]
    size, least = abs(number), _least(form)
    drop = size.bit_length() - fraction_bits - 1
    if not flushes:
        drop = max(drop, least - power)
    kept = size << -drop if drop <= 0 else _half_even(size, drop)
    place = power + drop - least
    magnitude = (place << fraction_bits) + kept
    if not kept or (flushes and magnitude < 1 << fraction_bits):
        return 0
    infinity = ((1 << exponent_bits) - 1) << fraction_bits
    magnitude = min(magnitude, infinity - 1 if saturates else infinity)
    return (int(number < 0) << (exponent_bits + fraction_bits)) | magnitude


def fixed_sums(
    weight: Int64[np.ndarray, " n"],
    activation: Int64[np.ndarray, " n"],
    partial: Int64[np.ndarray, " n"],
    bits: int,
    saturates: bool,
) -> list[int]:
    """Return weight * activation + partial as signed numbers of `bits` bits: wrapped, or saturated."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    exact = (w * a + p for w, a, p in zip(weight.tolist(), activation.tolist(), partial.tolist(), strict=True))
    if saturates:
        return [min(max(number, low), high) for number in exact]
    return [((number - low) & ((1 << bits) - 1)) + low for number in exact]


def float_sums(
    weight: Int64[np.ndarray, " n"],
    activation: Int64[np.ndarray, " n"],
    partial: Int64[np.ndarray, " n"],
    unit: int,
    form: str,
    flushes: bool,
    saturates: bool,
) -> list[int]:
    """Return the bit patterns of the rounded weight * activation * 2**unit + partial; `partial` are patterns."""
    found: list[int] = []
    for w, a, pattern in zip(weight.tolist(), activation.tolist(), partial.tolist(), strict=True):
        number, power = sum_number(pattern, form, flushes)
        lowest = min(power, unit)
        exact = (w * a << (unit - lowest)) + (number << (power - lowest))
        found.append(sum_pattern(exact, lowest, form, flushes, saturates))
    return found


def float8_advice(
    weight: Int16[np.ndarray, " n"],
    activation: Int64[np.ndarray, " n"],
    partials: Sequence[Int64[np.ndarray, " n"]],
    results: Sequence[Int64[np.ndarray, " n"]],
    bits: int,
) -> str:
    """Return the declaration of 8-bit floats under which all results are right, as it stands in a ports file.

    It is empty if there is none. Operands are pins as signed integers; those that are no numbers are left out.
    `results` has the results of `bits` bits for each array of `partials`.
    """
    for weights, activations in _PAIRS:
        kept = np.isin(weight, float8_patterns(weights))
        if activations != "integer":
            kept &= np.isin(activation, float8_patterns(activations))
        w, a = operand_units(weight[kept].astype(np.int64), weights), operand_units(activation[kept], activations)
        for saturates in (False, True):
            sums = (fixed_sums(w, a, partial[kept], bits, saturates) for partial in partials)
            if all(found[kept].tolist() == wanted for found, wanted in zip(results, sums, strict=True)):
                told = [f'weight_format = "{weights}"']
                told += [f'activation_format = "{activations}"'] * (activations != "integer")
                return " and ".join([*told, *["saturates = true"] * saturates])
    return ""


def drawn_sums(products: Sequence[int], unit: int, form: str, random: np.random.Generator) -> Int64[np.ndarray, " n"]:
    """Return finite bit patterns for partial sums beside products (in units of 2**unit).

    A third is near the product or its negative, so that sums cancel and round; a third has an exponent near it; the
    rest is any.
    """
    exponent_bits, fraction_bits = _SUMS[form]
    infinity = ((1 << exponent_bits) - 1) << fraction_bits
    near = np.array([sum_pattern(-product, unit, form, False, True) for product in products], dtype=np.int64)
    sign = random.integers(0, 2, near.size) << (exponent_bits + fraction_bits)
    beside = (near & ((infinity >> fraction_bits) << fraction_bits)) + (
        random.integers(-fraction_bits - 3, fraction_bits + 4, near.size) << fraction_bits
    )
    beside = np.clip(beside, 0, infinity - (1 << fraction_bits)) | random.integers(0, 1 << fraction_bits, near.size)
    other = random.integers(0, infinity, near.size)
    close = near ^ random.choice([0, 1, 2, 1 << (exponent_bits + fraction_bits)], near.size)
    kind = random.integers(0, 3, near.size)
    return np.select([kind == 0, kind == 1], [close, sign | beside], sign | other)


def _least(form: str) -> int:
    """Return the power of two of the smallest subnormal number."""
    exponent_bits, fraction_bits = _SUMS[form]
    return 2 - (1 << (exponent_bits - 1)) - fraction_bits


def _half_even(size: int, drop: int) -> int:
    kept, rest, half = size >> drop, size & ((1 << drop) - 1), 1 << (drop - 1)
    return kept + (rest > half or (rest == half and kept & 1))
