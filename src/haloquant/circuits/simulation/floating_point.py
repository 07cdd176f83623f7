"""Energy of a floating-point element for drawn weights, activations and partial sums.

Activations are Gaussian. A partial sum is that of a random number of products, up to the rows of the array.
"""

import numpy as np
from jaxtyping import Float64, UInt8

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.ports import MacPorts, float_bits, weight_values
from haloquant.circuits.simulation.dot_products import cycle_energies
from haloquant.circuits.simulation.stimuli import Stimuli
from haloquant.circuits.timing.conditions import Conditions

LANES = 512
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
