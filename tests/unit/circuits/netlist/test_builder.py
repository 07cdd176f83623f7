"""Nets, ports and pins of a module, and the sentences of modules that cannot be timed."""

from collections.abc import Mapping

import pytest

from haloquant.circuits.netlist.builder import NetlistBuilder
from haloquant.circuits.netlist.yosys_json import Instance, Module, NetName, Port
from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError
from support.gate_cases import Gate
from support.timing_netlists import LIBRARY, PORTS, TINY, read

CHAIN: dict[str, Gate] = {"u2": ("NAND2", {"A": 5, "B": 2, "Y": 4}), "u1": ("INV", {"A": 3, "Y": 5})}


def test_nets_are_numbered_behind_the_constants_and_named_by_port_then_by_the_shortest_source_name() -> None:
    names = {
        "product_of_the_row": NetName([5]),
        "row": NetName([5]),
        "$abc$12": NetName([6], hide_name=1),
        "sum": NetName([6, 2]),
    }
    ports = {"weight": Port("input", [2, 3]), "result": Port("output", [7])}
    builder = NetlistBuilder(Module(ports, {}, names), LIBRARY)
    assert builder.port("weight", 2, "input") == [2, 3]
    assert [builder.net(bit, "") for bit in ("0", "1", 5, 6, 7, 8, 5)] == [0, 1, 4, 5, 6, 7, 4]
    assert builder.names == ["0", "1", "weight[0]", "weight[1]", "row", "sum[0]", "result", "n8"]
    assert builder.driver == {0: "constant", 1: "constant", 2: "port weight", 3: "port weight"}


def test_registers_stand_apart_and_marks_of_scopes_are_no_gates() -> None:
    cells = {
        "scope": Instance("$scopeinfo", {}),
        "r": Instance("DFF", {"D": [2], "CK": [3], "Q": [4]}),
        "h": Instance("HA", {"A": [2], "B": ["1"], "S": [5]}),
    }
    gates, registers = NetlistBuilder(Module({}, cells), LIBRARY).instances()
    assert [gate.name for gate in registers] == ["r"]
    (adder,) = gates
    assert adder.inputs[1] == 1
    assert len(set(adder.outputs)) == 2  # the open carry has a net of its own


def test_an_input_that_is_tied_has_the_width_of_its_port() -> None:
    builder = NetlistBuilder(Module({"mode": Port("input", [4, 5, 6])}, {}), LIBRARY)
    assert builder.tied("mode") == [2, 3, 4]


def _refused(gates: Mapping[str, Gate], ports: MacPorts = TINY, pins: Mapping = PORTS) -> str:
    with pytest.raises(NetlistError) as error:
        read(gates, ports, pins)
    return str(error.value)


@pytest.mark.parametrize(
    ("gates", "sentence"),
    [
        ({"u": ("$_AND_", {"A": 2, "B": 3, "Y": 4})},
         "gate u must be a cell of library small, not '$_AND_'; map the design to this library first"),
        ({"u": ("LATCH", {"D": 2, "G": 3, "Q": 4})},
         "the netlist must have no latch or clock gate, but u is a LATCH"),
        ({"u": ("TRI", {"A": 2, "E": 3, "Y": 4})}, "the netlist must have no three-state driver, but u is a TRI"),
        ({"a": ("INV", {"A": 2, "Y": 4}), "b": ("INV", {"A": 3, "Y": 4})},
         "net result must have one driver, not both gate a and gate b"),
        ({"a": ("INV", {"A": 2, "Y": 3})}, "net activation must have one driver, not both port activation and gate a"),
        ({"a": ("INV", {"A": 77, "Y": 4})}, "net n77 must have a driver, but nothing drives it"),
        ({"a": ("INV", {"A": 2, "Y": 5})}, "net result must have a driver, but nothing drives it"),
        ({"a": ("INV", {"A": "x", "Y": 4})}, "pin A of gate a (INV) must be driven, but is left open ('x')"),
        ({"a": ("INV", {"Y": 4})}, "pin A of gate a (INV) must be connected to one net, not 0"),
        ({"a": ("INV", {"A": 2, "Y": "1"})}, "pin Y of gate a (INV) must drive one net, not ['1']"),
        ({"a": ("INV", {"A": 2, "Y": 4, "Z": 5})}, "gate a must use pins of cell INV, not ['Z']"),
    ],
)  # fmt: skip
def test_a_netlist_that_cannot_be_timed_is_refused(gates: Mapping[str, Gate], sentence: str):
    assert _refused(gates) == sentence


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"weight": ("input", [2, 8])}, "port 'weight' must have 1 bits, not 2"),
        ({"weight": ("output", [2])}, "port 'weight' must be an input, not an output"),
        ({"enable": ("input", [8])},
         "input 'enable' of the module must be declared: as weight, activation, partial, clock or tied"),
        ({"result": ("output", ["z"])}, "bit 0 of port 'result' must be driven, but is left open ('z')"),
    ],
)  # fmt: skip
def test_ports_that_do_not_fit_are_refused(changed: Mapping, sentence: str):
    assert _refused(CHAIN, TINY, {**PORTS, **changed}) == sentence


def test_a_port_that_is_missing():
    ports = MacPorts(partial="psum", weight_bits=1, activation_bits=1, result_bits=1)
    assert _refused(CHAIN, ports) == "the module must have a port 'psum', but its ports are: activation, result, weight"
