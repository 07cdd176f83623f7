"""Reading mapped netlists: order, loads, and another library."""

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import net_loads
from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError
from support.gate_cases import CELLS, Gate, library_text, random_gates
from support.near import near
from support.timing_netlists import LIBRARY, PORTS, TINY, read

CHAIN: dict[str, Gate] = {"u2": ("NAND2", {"A": 5, "B": 2, "Y": 4}), "u1": ("INV", {"A": 3, "Y": 5})}


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
