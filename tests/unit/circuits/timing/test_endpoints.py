"""Where paths start and end: constant nets, register outputs and register inputs."""

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.timing.case_analysis import FREE
from haloquant.circuits.timing.endpoints import captures, delay_tables, gate_analyses, initial_states, launches
from haloquant.errors import NetlistError
from support.gate_cases import CELLS, Gate, input_pin, library_text, netlist_json, output_pin
from support.timing_netlists import LIBRARY, PORTS, TINY, read

PIPELINED: dict[str, Gate] = {
    "u1": ("NAND2", {"A": 3, "B": 2, "Y": 5}),
    "r": ("DFF", {"D": 5, "CK": 9, "Q": 8}),
    "u2": ("INV", {"A": 8, "Y": 4}),
}
CLOCKED = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1, clock="clk", latency=1)
CLOCKED_PINS = {**PORTS, "clk": ("input", [9])}


def test_weights_and_tied_pins_are_constant_and_all_else_is_free() -> None:
    ports = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1, tied=(("mode", 2),))
    gates: dict[str, Gate] = {"u": ("AO21", {"A1": 2, "A2": 3, "B": 11, "Y": 4})}
    netlist = read(gates, ports, {**PORTS, "mode": ("input", [10, 11])})
    states = initial_states(netlist, np.array([-1, 0], np.int16))
    by_name = dict(zip(netlist.net_names, states.tolist(), strict=True))
    assert by_name == {
        "0": [0, 0], "1": [1, 1], "weight": [1, 0], "activation": [FREE] * 2, "result": [FREE] * 2,
        "mode[0]": [0, 0], "mode[1]": [1, 1],
    }  # fmt: skip


def test_a_register_launches_from_its_output_and_captures_at_its_data_pin() -> None:
    netlist = read(PIPELINED, CLOCKED, CLOCKED_PINS)
    (launch,) = launches(netlist, LIBRARY)
    (capture,) = captures(netlist, LIBRARY)
    names = netlist.net_names
    assert (launch.name, names[launch.net], launch.arc.related) == ("r", "n8", "CK")
    assert (capture.name, capture.pin, names[capture.net]) == ("r", "D", "n5")
    assert capture.setup is not None and capture.setup.kind == "setup_rising"


def test_a_register_without_setup_still_ends_paths() -> None:
    plain = {**CELLS, "DFF": CELLS["DFF"].replace("setup_rising", "hold_rising")}
    (capture,) = captures(read(PIPELINED, CLOCKED, CLOCKED_PINS), parse_liberty(library_text(plain)))
    assert (capture.pin, capture.setup) == ("D", None)


def test_a_register_without_a_clock_arc_is_refused() -> None:
    cell = 'ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }\n' + input_pin("D") + input_pin("CK")
    library = parse_liberty(library_text({**CELLS, "DFF": cell + output_pin("Q", "IQ")}))
    with pytest.raises(NetlistError, match=r"^cell DFF \(register r\) must have a clock-to-Q arc, but has none$"):
        launches(parse_netlist(netlist_json(CLOCKED_PINS, PIPELINED), library, CLOCKED), library)


def test_every_combinational_cell_is_analysed_once() -> None:
    gates: dict[str, Gate] = {
        "a": ("INV", {"A": 3, "Y": 5}),
        "b": ("INV", {"A": 5, "Y": 6}),
        "c": ("NAND2", {"A": 6, "B": 2, "Y": 4}),
    }
    netlist = read(gates, TINY)
    assert {netlist.kinds[k].name for k in gate_analyses(netlist, LIBRARY)} == {"INV", "NAND2"}
    pipelined = read(PIPELINED, CLOCKED, CLOCKED_PINS)
    assert {pipelined.kinds[k].name for k in gate_analyses(pipelined, LIBRARY)} == {"INV", "NAND2"}


def test_the_edge_of_the_output_chooses_the_tables() -> None:
    arc = LIBRARY.cells["INV"].arcs[0]
    first = [[table.values[0, 0] for table in delay_tables(arc, edge) if table is not None] for edge in (0, 1)]
    np.testing.assert_allclose(first, [[0.10e-9, 0.05e-9], [0.08e-9, 0.04e-9]])
