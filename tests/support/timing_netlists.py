"""Small netlists for tests of static timing: of named gates, or random."""

from collections.abc import Mapping

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts
from support.gate_cases import Gate, library_text, netlist_json, random_gates

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
