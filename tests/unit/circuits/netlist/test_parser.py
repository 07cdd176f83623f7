"""Reading mapped netlists: order, loads, and the sentences of what is refused."""

import json
from collections.abc import Mapping

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import Netlist, net_loads, parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError
from support.gate_cases import CELLS, Gate, library_text, netlist_json, random_gates
from support.near import near

LIBRARY = parse_liberty(library_text())
TINY = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)
PORTS = {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", [4])}
CHAIN: dict[str, Gate] = {"u2": ("NAND2", {"A": 5, "B": 2, "Y": 4}), "u1": ("INV", {"A": 3, "Y": 5})}


def read(gates: Mapping[str, Gate], ports: MacPorts = TINY, pins: Mapping = PORTS) -> Netlist:
    return parse_netlist(netlist_json(pins, gates), LIBRARY, ports)


def test_gates_stand_behind_what_drives_them():
    netlist = read(CHAIN)
    assert netlist.gates.names == ("u1", "u2")
    assert netlist.level_start.tolist() == [0, 1, 2]
    assert [netlist.kinds[k].name for k in netlist.gates.kind] == ["INV", "NAND2"]
    assert netlist.net_names[netlist.weight_net[0]] == "weight"
    assert netlist.net_names[netlist.result_net[0]] == "result"


@pytest.mark.parametrize("seed", range(5))
def test_every_gate_reads_only_ports_constants_and_gates_before_it(seed: int):
    gates, driven = random_gates(seed, [2, 3], 60)
    netlist = read(gates, TINY, {**PORTS, "result": ("output", driven[-1:])})
    done = {0, 1, int(netlist.weight_net[0]), int(netlist.activation_net[0])}
    for g in range(len(netlist.gates)):
        inputs = netlist.gates.input_net[netlist.gates.input_start[g] : netlist.gates.input_start[g + 1]]
        assert set(inputs.tolist()) <= done
        done.update(
            netlist.gates.output_net[netlist.gates.output_start[g] : netlist.gates.output_start[g + 1]].tolist()
        )
        for net in set(inputs.tolist()):
            assert g in netlist.fanout_gate[netlist.fanout_start[net] : netlist.fanout_start[net + 1]]
    assert len(netlist.fanout_gate) == netlist.fanout_start[-1]


def test_loads_are_the_rise_and_fall_capacitances_of_the_driven_pins():
    netlist = read(CHAIN)
    rise, fall = net_loads(netlist, LIBRARY, output_load_f=3e-15)
    inner = netlist.gates.output_net[0]
    assert (rise[inner], fall[inner]) == (near(0.02e-12), near(0.024e-12))
    assert rise[netlist.result_net[0]] == 3e-15
    assert rise.sum() == near(3 * 0.02e-12 + 3e-15)


def test_a_register_stands_apart_and_loads_its_nets():
    gates = {**CHAIN, "r": ("DFF", {"D": 4, "CK": 9, "Q": 8}), "u3": ("INV", {"A": 8, "Y": 7})}
    pins = {**PORTS, "clk": ("input", [9]), "result": ("output", [7])}
    netlist = read(gates, MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1, clock="clk"), pins)
    assert netlist.registers.names == ("r",)
    assert "r" not in netlist.gates.names
    rise, _ = net_loads(netlist, LIBRARY)
    assert rise[netlist.clock_net] == near(0.01e-12)


def test_an_input_that_is_tied_is_known_by_its_bits():
    gates = {"u": ("AO21", {"A1": 2, "A2": 3, "B": 11, "Y": 4})}
    ports = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1, tied=(("mode", 2),))
    netlist = read(gates, ports, {**PORTS, "mode": ("input", [10, 11])})
    assert dict(zip([netlist.net_names[n] for n in netlist.tied_net], netlist.tied_value.tolist(), strict=True)) == {
        "mode[0]": 0,
        "mode[1]": 1,
    }


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
        ({"a": ("INV", {"A": 6, "Y": 5}), "b": ("NAND2", {"A": 5, "B": 2, "Y": 6}), "c": ("INV", {"A": 6, "Y": 4})},
         "the netlist must have no combinational loop, but has a -> b -> a"),
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


def test_text_that_is_no_netlist():
    with pytest.raises(NetlistError, match=r"^a netlist must be JSON as Yosys' write_json writes it: "):
        parse_netlist('{"modules": [', LIBRARY, TINY)


def test_several_modules_without_a_top():
    module = json.loads(netlist_json(PORTS, CHAIN))["modules"]["mac"]
    with pytest.raises(NetlistError) as error:
        parse_netlist(json.dumps({"modules": {"a": module, "b": module}}), LIBRARY, TINY)
    assert (
        str(error.value)
        == "the netlist must hold one module, or mark one as top, not 2: a, b; flatten the design first"
    )
    marked = {
        "a": module,
        "b": {**module, "attributes": {"top": "1"}},
        "c": {**module, "attributes": {"blackbox": "1"}},
    }
    assert parse_netlist(json.dumps({"modules": marked}), LIBRARY, TINY).name == "b"


def test_another_library_must_have_the_cells_and_pins():
    netlist = read(CHAIN)
    with pytest.raises(NetlistError) as error:
        net_loads(netlist, parse_liberty(library_text({"INV": CELLS["INV"]})))
    assert str(error.value) == "cell NAND2 of netlist mac must be in library small, but is not"
    with pytest.raises(NetlistError) as error:
        net_loads(netlist, parse_liberty(library_text({"INV": CELLS["INV"], "NAND2": CELLS["INV"]})))
    assert str(error.value) == "cell NAND2 of library small must have pins ['B'], but lacks them"


def test_an_activation_that_goes_straight_to_the_result():
    netlist = read({}, TINY, {**PORTS, "result": ("output", [3])})
    assert len(netlist.gates) == 0
    assert netlist.result_net.tolist() == netlist.activation_net.tolist()
    assert np.array_equal(netlist.level_start, [0])
