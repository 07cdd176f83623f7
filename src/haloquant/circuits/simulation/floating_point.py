"""Energy of a floating-point element for drawn weights, activations and partial sums; stimuli of MACs of small floats.

Activations are Gaussian. A partial sum is that of a random number of products, up to the rows of the array.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, UInt8

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.number_formats import float8_numbers, float8_patterns, product_unit, sum_pattern
from haloquant.circuits.ports import MacPorts, float_bits, weight_values
from haloquant.circuits.simulation.dot_products import cycle_energies
from haloquant.circuits.simulation.stimuli import Stimuli, activation_stimuli, with_partial_sums
from haloquant.circuits.timing.conditions import Conditions

LANES = 512
_SUM_LANES, _SUMS = 8192, 4096  # lanes of a MAC of small floats that adds, and partial sums that they are drawn from
_ROWS = 128  # rows of the array
_WEIGHT_DEVIATION = 2.0**-5  # as in `ports.float_patterns`


def float_energies(
    netlist: Netlist, library: Library, conditions: Conditions | None = None
) -> Float64[np.ndarray, " w"]:
    """Return the mean energy (J) of a clock cycle for each weight of `ports.weight_values`, without leakage."""
    stimuli = float_stimuli(netlist.ports)
    return cycle_energies(netlist, library, weight_values(netlist.ports), stimuli, conditions)


def float_stimuli(ports: MacPorts, lanes: int = LANES, seed: int = 0) -> Stimuli:
    """Return drawn transitions of all activation and partial-sum bits."""
    random = np.random.default_rng(seed)
    before, after = (_levels(ports, random, lanes) for _ in range(2))
    share = np.full((1, lanes), 1.0 / lanes)
    edges = (before + 2 * after).astype(np.uint8)
    return Stimuli(0, np.zeros(lanes, np.int32), share, ("drawn",), edges=edges)


def _levels(ports: MacPorts, random: np.random.Generator, lanes: int) -> UInt8[np.ndarray, "bit lane"]:
    exponent_bits, fraction_bits = ports.floating
    activation = float_bits(random.normal(size=lanes), exponent_bits, fraction_bits)
    count = random.integers(0, _ROWS, lanes)
    sums = random.normal(size=lanes) * _WEIGHT_DEVIATION * np.sqrt(count)
    partial = float_bits(sums, exponent_bits, ports.result_bits - 1 - exponent_bits)
    rows = [
        patterns >> np.arange(width)[:, None] & 1
        for patterns, width in ((activation, ports.activation_bits), (partial, ports.result_bits))
    ]
    return np.concatenate(rows).astype(np.uint8)


def format_stimuli(ports: MacPorts, seed: int = 0) -> Stimuli:
    """Return the stimuli of a MAC with formats of small floats: every transition between two activations.

    With a partial sum 8,192 lanes are drawn. Their partial sums are those of up to 127 products of Gaussian weights and
    activations whose largest numbers are at four standard deviations. Bit patterns that are no numbers do not occur.
    """
    stimuli = activation_stimuli(ports.activation_bits)
    if ports.activation_format != "integer":
        numbers = float8_patterns(ports.activation_format) & 0xFF
        places = np.arange(ports.activation_bits)
        bits = stimuli.transition[:, None] >> (2 * places + np.array([0, 1])[:, None, None]) & 1
        kept = np.isin((bits << places).sum(axis=2), numbers).all(axis=0)
        share = stimuli.probability[:, kept]
        stimuli = replace(
            stimuli, transition=stimuli.transition[kept], probability=share / share.sum(axis=1, keepdims=True)
        )
    if ports.partial is None:
        return stimuli
    random = np.random.default_rng(seed)
    weight, activation = (
        _largest(ports.weight_format, ports.weight_bits),
        _largest(ports.activation_format, ports.activation_bits),
    )
    deviation = weight * activation / 16
    sums = random.normal(size=_SUMS) * deviation * np.sqrt(random.integers(0, _ROWS, _SUMS))
    if ports.result_format == "fixed":
        most = 2.0 ** min(ports.sum_bits - 1, 62) - 1
        unit = 2.0 ** product_unit(ports.weight_format, ports.activation_format)
        values = np.rint(np.clip(sums / unit, -most, most)).astype(np.int64)
    else:
        mantissa, power = np.frexp(sums)
        whole = np.ldexp(mantissa, 53).astype(np.int64).tolist()
        parts = zip(whole, (power - 53).tolist(), strict=True)
        values = np.array([sum_pattern(n, p, ports.result_format, ports.flushes, True) for n, p in parts])
    values = np.unique(values)
    return with_partial_sums(stimuli, values, np.ones(values.size), _SUM_LANES, seed)


def _largest(form: str, bits: int) -> float:
    """Return the largest number of an operand."""
    if form == "integer":
        return 2.0 ** (bits - 1)
    return float(float8_numbers(float8_patterns(form).astype(np.int64), form).max())
