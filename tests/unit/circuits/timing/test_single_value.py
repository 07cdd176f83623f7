"""The timing of one value against the timing of all values."""

from collections.abc import Mapping

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.reference.delays import reference_delay
from haloquant.circuits.timing.single_value import time_single_value
from haloquant.circuits.timing.static_timing import analyze_timing, static_delays
from support.gate_cases import (
    Gate,
    library_text,
    netlist_json,
    random_gates,
)
from support.near import near

LIBRARY = parse_liberty(library_text())


TINY = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)


PORTS = {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", [4])}


def read(gates: Mapping[str, Gate], ports: MacPorts = TINY, pins: Mapping = PORTS) -> Netlist:
    return parse_netlist(netlist_json(pins, gates), LIBRARY, ports)


def random_mac(seed: int, bits: int = 3, gates: int = 50) -> Netlist:
    weight, activation, partial = list(range(2, 2 + bits)), list(range(20, 20 + bits)), list(range(40, 46))
    found, driven = random_gates(seed, [*weight, *activation, *partial], gates)
    pins = {
        "weight": ("input", weight),
        "activation": ("input", activation),
        "partial": ("input", partial),
        "result": ("output", driven[-6:]),
    }
    return read(found, MacPorts(weight_bits=bits, activation_bits=bits, result_bits=6), pins)


@pytest.mark.parametrize("slews", ["possible", "enabled"])
@pytest.mark.parametrize("seed", range(4))
def test_all_values_at_once_are_each_value_alone(seed: int, slews: str):
    netlist = random_mac(seed)
    conditions = Conditions(input_slew_s=7e-11, output_load_f=5e-15, slews=slews)  # pyright: ignore[reportArgumentType]
    fast = static_delays(netlist, LIBRARY, None, conditions)
    slow = [reference_delay(netlist, LIBRARY, int(w), conditions) for w in weight_values(netlist.ports)]
    np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=0)


@pytest.mark.parametrize("seed", range(2))
def test_every_arrival_slew_and_constant_is_the_slow_twins(seed: int):
    netlist = random_mac(seed)
    timing = analyze_timing(netlist, LIBRARY)
    for i, weight in enumerate(timing.weights.tolist()):
        one = time_single_value(netlist, LIBRARY, weight, Conditions())
        assert one.state == timing.state[:, i].tolist()
        for (net, edge), step in one.steps.items():
            assert timing.arrival_s[net, edge, i] == near(step.arrival_s, rel=1e-12)
            assert timing.slew_s[net, edge, i] == near(one.slew_s[net, edge], rel=1e-12, abs=1e-24)
        assert np.isfinite(timing.arrival_s[:, :, i]).sum() == len(one.steps)
