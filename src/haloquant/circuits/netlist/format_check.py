"""Check that a netlist of small floats computes weight * activation + partial, against exact arithmetic.

Operands are bit patterns that are numbers; infinities and NaNs are not tried.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.logic_check import edge_sums, evaluate_mac, operand_pairs
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.number_formats import (
    drawn_sums,
    fixed_sums,
    float_sums,
    operand_units,
    product_unit,
    sum_bits_of,
)
from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError

_RANDOM_ROUNDS = 2


def check_formats(netlist: Netlist, library: Library, seed: int = 0) -> int:
    """Check a MAC with a `weight_format`, `activation_format` or `result_format`, and return the triples tried.

    All pairs of numbers are tried (at most 2**20). A sum in fixed point sees edge values and two rounds of random ones;
    one in floating point sees 0 and two rounds of drawn ones (`number_formats.drawn_sums`). A zero of either sign is
    right.

    Raises:
        NetlistError: A result is wrong; the message gives one counterexample in bit patterns.
    """
    ports, random = netlist.ports, np.random.default_rng(seed)
    weight, activation = operand_pairs(ports, random)
    products = [
        w * a
        for w, a in zip(
            operand_units(weight.astype(np.int64), ports.weight_format).tolist(),
            operand_units(activation, ports.activation_format).tolist(),
            strict=True,
        )
    ]
    for partial in _partials(ports, products, random):
        found = _without_signed_zeros(ports, evaluate_mac(netlist, library, weight, activation, partial))
        wanted = np.array(expected_sums(ports, weight.astype(np.int64), activation, partial), dtype=np.int64)
        wrong = np.flatnonzero(found != wanted)
        if wrong.size:
            i = wrong[0]
            pins = 2 ** np.array([ports.weight_bits, ports.activation_bits, ports.result_bits], dtype=object)
            w, a, p, result, exact = (
                f"{int(value) % int(most):#x}"
                for value, most in zip(
                    (weight[i], activation[i], partial[i], found[i], wanted[i]), pins[[0, 1, 2, 2, 2]], strict=True
                )
            )
            addend = f" + {p}" if ports.partial else ""
            raise NetlistError(
                f"{netlist.name} must compute weight * activation{' + partial' if addend else ''} of {said(ports)}, "
                f"but gives {w} * {a}{addend} = {result}, not {exact} "
                f"({wrong.size:,} of {weight.size:,} operands wrong); a MAC that computes something else must say "
                "unchecked = true in its ports file"
            )
    return weight.size * (1 if ports.partial is None else _RANDOM_ROUNDS + 1)


def said(ports: MacPorts) -> str:
    """Return the formats of a MAC in words."""
    unit = product_unit(ports.weight_format, ports.activation_format)
    form = (
        f"fixed point in units of 2**{unit}" if ports.result_format == "fixed" else f"rounded to {ports.result_format}"
    )
    more = (", saturated" * ports.saturates) + (", without subnormal sums" * ports.flushes)
    return f"{ports.weight_format} and {ports.activation_format}, {form}{more}"


def expected_sums(
    ports: MacPorts,
    weight: Int64[np.ndarray, " n"],
    activation: Int64[np.ndarray, " n"],
    partial: Int64[np.ndarray, " n"],
) -> list[int]:
    """Return what a MAC with these formats computes from pins: signed numbers, or bit patterns of floats."""
    w, a = operand_units(weight, ports.weight_format), operand_units(activation, ports.activation_format)
    if ports.result_format == "fixed":
        return fixed_sums(w, a, partial, ports.sum_bits, ports.saturates)
    unit = product_unit(ports.weight_format, ports.activation_format)
    return float_sums(w, a, partial, unit, ports.result_format, ports.flushes, ports.saturates)


def _partials(ports: MacPorts, products: Sequence[int], random: np.random.Generator) -> list[Int64[np.ndarray, " n"]]:
    """Return rounds of partial sums: 0 alone without a partial sum."""
    none = np.zeros(len(products), dtype=np.int64)
    if ports.partial is None:
        return [none]
    if ports.result_format == "fixed":
        return edge_sums(ports, len(products), random, _RANDOM_ROUNDS)
    unit = product_unit(ports.weight_format, ports.activation_format)
    return [none, *(drawn_sums(products, unit, ports.result_format, random) for _ in range(_RANDOM_ROUNDS))]


def _without_signed_zeros(ports: MacPorts, found: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Return results as `expected_sums` gives them: patterns without a sign of their own, and +0 for -0."""
    if ports.result_format == "fixed":
        return found
    width = sum_bits_of(ports.result_format)
    patterns = found & ((1 << width) - 1)
    return np.where(patterns == 1 << (width - 1), 0, patterns)
