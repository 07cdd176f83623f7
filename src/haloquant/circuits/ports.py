"""The ports of a MAC, and the encoding of weight values on the weight pins."""

from dataclasses import dataclass, replace
from itertools import product
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int64

from haloquant.circuits.number_formats import OperandFormat, SumFormat, float8_patterns
from haloquant.errors import NetlistError

Encoding = Literal["twos_complement", "sign_magnitude", "booth_digits", "one_digit", "multiple_shift"]


@dataclass(frozen=True, slots=True)
class MacPorts:
    """Names and widths of a MAC's ports. `partial` or `clock` is None if the MAC has no such port.

    The MAC computes `result = weight * activation + partial`, or without `partial` the product. All numbers are signed,
    but for an `unsigned_activation`, and bit 0 is the least significant. A result that does not fit wraps, or with
    `saturates` becomes the nearest number that fits. With `unchecked` the MAC may compute anything, such as products
    of 8-bit floats or approximate ones; weight values are then those of its pins in two's complement.

    `weight_bits` counts pins: sign-magnitude holds -127..127 on 8 pins, and stored Booth digits need three pins (one,
    two, negative) for every two weight bits. `one_digit` holds 0 and +-2**k on one pin for each k, and the sign on the
    last pin. `latency` is the number of clock edges from activation to result. `tied` lists constant input ports as
    (port, value). With `carry_save`, partial sum and result consist of two words each, the lower and the upper half of
    the port; the number is the sum of the two words.

    `partial_registered` declares a whole processing element, with the registers of its partial sum at the result: the
    partial sum comes from the same registers of the element before. So it arrives after their clock-to-output delay,
    and in carry-save form bit 0 of its upper word is 0, as carries leave it.

    `floating` has the exponent and fraction bits of the operands of a floating-point element; the pins hold bit
    patterns. It is empty for integers.

    A `weight_format` or `activation_format` of `e4m3` or `e5m2` says that the 8 pins hold the bit pattern of such a
    float (`number_formats`). Weight values are then bit patterns, as signed integers, without those that
    are no numbers. The sum is exact, in units of the product of the smallest numbers, or with a `result_format`
    rounded to a float, whose subnormal numbers a MAC that `flushes` takes for 0.

    `top` is the name of the top module, and `parameters` sets its parameters, as (name, value).
    """

    weight: str = "weight"
    activation: str = "activation"
    result: str = "result"
    partial: str | None = "partial"
    clock: str | None = None
    weight_bits: int = 8
    activation_bits: int = 8
    result_bits: int = 24
    encoding: Encoding = "twos_complement"
    latency: int = 0
    tied: tuple[tuple[str, int], ...] = ()
    carry_save: bool = False
    partial_registered: bool = False
    unsigned_activation: bool = False
    saturates: bool = False
    unchecked: bool = False
    products: int = 1
    multiples: tuple[int, ...] = ()
    words: tuple[int, ...] = ()
    floating: tuple[int, ...] = ()
    weight_format: OperandFormat = "integer"
    activation_format: OperandFormat = "integer"
    result_format: SumFormat = "fixed"
    flushes: bool = False
    top: str = "mac"
    parameters: tuple[tuple[str, int], ...] = ()

    @property
    def sum_bits(self) -> int:
        """Width of the number that the result represents."""
        return self.result_bits // 2 if self.carry_save else self.result_bits

    @property
    def formatted(self) -> bool:
        """Whether an operand or the sum is a small float."""
        return (self.weight_format, self.activation_format, self.result_format) != ("integer", "integer", "fixed")

    @property
    def weight_width(self) -> int:
        """Width of the weight port: the pins of all products."""
        return self.products * self.weight_bits

    @property
    def activation_pins(self) -> int:
        """Activation pins of one product: those of all multiples."""
        return sum(multiple_bits(self)) if self.multiples else self.activation_bits

    @property
    def activation_width(self) -> int:
        """Width of the activation port: the pins of all products."""
        return self.products * self.activation_pins


def weight_values(ports: MacPorts) -> Int16[np.ndarray, " w"]:
    """Return every weight value that the pins can hold, ascending; bit patterns of drawn weights for floating point."""
    if ports.floating:
        return float_patterns(ports)
    if ports.weight_format != "integer":
        return float8_patterns(ports.weight_format)
    if ports.encoding == "twos_complement":
        bits = ports.weight_bits
        return np.arange(-(1 << (bits - 1)), 1 << (bits - 1), dtype=np.int16)
    if ports.encoding == "sign_magnitude":
        largest = (1 << (ports.weight_bits - 1)) - 1
        return np.arange(-largest, largest + 1, dtype=np.int16)
    if ports.encoding == "multiple_shift":
        return np.array(sorted(ports.words), dtype=np.int16)
    if ports.encoding == "one_digit":
        powers = 1 << np.arange(ports.weight_bits - 1)
        return np.concatenate([-powers[::-1], [0], powers]).astype(np.int16)
    bits = ports.weight_bits // 3 * 2
    return np.arange(-(1 << (bits - 1)), 1 << (bits - 1), dtype=np.int16)


def weight_pins(ports: MacPorts, values: Int16[np.ndarray, "w *products"]) -> Bool[np.ndarray, "w pins"]:
    """Return the level of every weight pin (least significant first) for each weight value.

    For an element of several products, `values` has one weight for each of them, or one weight that all of them hold.

    Raises:
        NetlistError: If the pins cannot hold a value.
    """
    if values.ndim == 2:
        pins = weight_pins(replace(ports, products=1), values.ravel())
        return pins.reshape(len(values), -1)
    if ports.products > 1:
        return np.tile(weight_pins(replace(ports, products=1), values), ports.products)
    allowed = weight_values(ports)
    if not ports.floating and values.size and (values.min() < allowed[0] or values.max() > allowed[-1]):
        bad = values[(values < allowed[0]) | (values > allowed[-1])][0]
        raise NetlistError(f"a weight must be {allowed[0]} to {allowed[-1]} in this MAC, not {bad}")
    if ports.weight_format != "integer" and not np.isin(values, allowed).all():
        bad = values[~np.isin(values, allowed)][0]
        raise NetlistError(f"a weight must be the bit pattern of a number in {ports.weight_format}, not {bad}")
    wide = values.astype(np.int64)
    if ports.encoding == "one_digit":
        selects = np.abs(wide)[:, None] == 1 << np.arange(ports.weight_bits - 1)
        if not (selects.any(axis=1) | (wide == 0)).all():
            bad = values[~selects.any(axis=1) & (wide != 0)][0]
            raise NetlistError(f"a weight of one digit must be 0 or a power of two with a sign, not {bad}")
        return np.concatenate([selects, (wide < 0)[:, None]], axis=1)
    if ports.encoding == "booth_digits":
        return _digit_pins(wide, ports.weight_bits // 3)
    if ports.encoding == "multiple_shift":
        return _multiple_pins(ports, wide)
    if ports.encoding == "sign_magnitude":
        sign = 1 << (ports.weight_bits - 1)
        wide = np.where(wide < 0, -wide | sign, wide)
    return (wide[:, None] >> np.arange(ports.weight_bits) & 1).astype(bool)


def float_patterns(ports: MacPorts) -> Int16[np.ndarray, " w"]:
    """Return the bit patterns, as signed integers, of the 32 quantiles of Gaussian weights with deviation 1/32."""
    exponent_bits, fraction_bits = ports.floating
    places = (np.arange(32) + 0.5) / 32
    patterns = float_bits(np.array([NormalDist(0.0, 2.0**-5).inv_cdf(p) for p in places]), exponent_bits, fraction_bits)
    width = 1 + exponent_bits + fraction_bits
    return np.unique(patterns - (patterns >> (width - 1) << width)).astype(np.int16)


def float_bits(numbers: Float64[np.ndarray, " n"], exponent_bits: int, fraction_bits: int) -> Int64[np.ndarray, " n"]:
    """Return the bit patterns of numbers, cut to the fraction's bits; what is below the normal range becomes 0."""
    mantissa, exponent = np.frexp(np.abs(numbers))  # mantissa in [0.5, 1)
    biased = exponent - 1 + (1 << (exponent_bits - 1)) - 1
    fraction = ((2 * mantissa - 1) * (1 << fraction_bits)).astype(np.int64)
    kept = (biased >= 1) & (mantissa > 0)
    biased = np.minimum(biased, (1 << exponent_bits) - 2)
    sign = (numbers < 0).astype(np.int64) << (exponent_bits + fraction_bits)
    return np.where(kept, sign | (biased.astype(np.int64) << fraction_bits) | fraction, 0)


def stored_digits(values: Int64[np.ndarray, " w"], digits: int) -> Int64[np.ndarray, "w digits"]:
    """Return the radix-4 digits (-2..2) that are stored for each weight, least significant first.

    Of all digit strings with the weight's value, the one with the fewest non-zero digits is chosen; then the one with
    the smallest sum of magnitudes; then the one with the fewest negative digits. A Booth recoder in the MAC cannot
    choose (32 = 64 - 2 * 16); a recoder before storage can take the shortest string (32 = 2 * 16).
    """
    choices = np.array(list(product((0, 1, -1, 2, -2), repeat=digits)), dtype=np.int64)
    means = choices @ 4 ** np.arange(digits)
    cost = np.lexsort(((choices < 0).sum(1), np.abs(choices).sum(1), (choices != 0).sum(1)))
    found, first = np.unique(means[cost], return_index=True)
    return choices[cost][first[np.searchsorted(found, values)]]


def _digit_pins(values: Int64[np.ndarray, " w"], digits: int) -> Bool[np.ndarray, "w pins"]:
    digit = stored_digits(values, digits)
    return np.stack([np.abs(digit) == 1, np.abs(digit) == 2, digit < 0], axis=2).reshape(len(values), 3 * digits)


def multiple_bits(ports: MacPorts) -> tuple[int, ...]:
    """Return the bits of each multiple of an unsigned activation."""
    return tuple((multiple * ((1 << ports.activation_bits) - 1)).bit_length() for multiple in ports.multiples)


def activation_levels(ports: MacPorts, values: Int64[np.ndarray, "n *products"]) -> Bool[np.ndarray, "n pins"]:
    """Return the level of every activation pin (least significant first); `values` are signed, one for each product."""
    wide = values.reshape(len(values), -1)
    if not ports.multiples:
        return (wide[:, :, None] >> np.arange(ports.activation_bits) & 1).astype(bool).reshape(len(values), -1)
    unsigned = wide + (1 << (ports.activation_bits - 1))
    parts = [
        (multiple * unsigned)[:, :, None] >> np.arange(bits) & 1
        for multiple, bits in zip(ports.multiples, multiple_bits(ports), strict=True)
    ]
    return np.concatenate(parts, axis=2).astype(bool).reshape(len(values), -1)


def row_bits(ports: MacPorts) -> int:
    """Return the bits of the row of a product of the encoding `multiple_shift`: those of the largest word's product."""
    return (max(abs(word) for word in ports.words) * ((1 << ports.activation_bits) - 1)).bit_length()


def added_constants(ports: MacPorts, values: Int16[np.ndarray, "n *products"]) -> Int64[np.ndarray, "n *products"]:
    """Return what a dot-product element adds to each product, which depends on its weight alone.

    2**(activation_bits - 1) times the weight comes from the unsigned activation. A negative row of t bits is inverted:
    ~r = 2**t - 1 - r. In Booth form the row of each negative digit is, with one bit more than the activation.
    """
    wide = values.astype(np.int64)
    shifted = wide << (ports.activation_bits - 1)
    if ports.encoding == "multiple_shift":
        return shifted + np.where(wide < 0, (1 << row_bits(ports)) - 1, 0)
    digits = stored_digits(wide.ravel(), ports.weight_bits // 3).reshape(*wide.shape, -1)
    places = 4 ** np.arange(digits.shape[-1])
    return shifted + (digits < 0) @ places * ((1 << (ports.activation_bits + 1)) - 1)


def multiple_and_shift(ports: MacPorts, word: int) -> tuple[int, int]:
    """Return which multiple (its place in the list) and which shift make the magnitude of a word that is not 0.

    Raises:
        NetlistError: No listed multiple does.
    """
    for place, multiple in enumerate(ports.multiples):
        ratio, rest = divmod(abs(word), multiple)
        if not rest and ratio and ratio & (ratio - 1) == 0:
            return place, ratio.bit_length() - 1
    listed = ", ".join(str(multiple) for multiple in ports.multiples)
    raise NetlistError(f"a word must be one of the multiples {listed}, shifted left, or 0, not {word}")


def shifts_of(ports: MacPorts) -> int:
    """Return the number of shifts that the words need, from 0 on."""
    return 1 + max(multiple_and_shift(ports, word)[1] for word in ports.words if word)


def _multiple_pins(ports: MacPorts, values: Int64[np.ndarray, " w"]) -> Bool[np.ndarray, "w pins"]:
    several = len(ports.multiples) if len(ports.multiples) > 1 else 0
    pins = np.zeros((len(values), several + shifts_of(ports) + 1), dtype=bool)
    for row, word in enumerate(values.tolist()):
        if word not in ports.words:
            raise NetlistError(f"a weight of this MAC must be one of {', '.join(map(str, ports.words))}, not {word}")
        if word:
            place, shift = multiple_and_shift(ports, word)
            if several:
                pins[row, place] = True
            pins[row, several + shift] = True
            pins[row, -1] = word < 0
    return pins
