"""OpenSTA's `report_power` on a chain of gates, each with its other pin held by the weight.

Debian's 2019 OpenSTA reads no VCD or SAIF, and its pin activities have no effect on gate outputs, so glitches cannot
be given to it. On a chain nothing reconverges and nothing glitches: the activity it propagates from the input is the
truth, and what both make of it (loads, slews, table readings, 1/2 C V^2) can be compared.
"""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from haloquant.eda.opensta import find_opensta, netlist_verilog
from haloquant.errors import ToolError
from haloquant.gates.netlist import Netlist, parse_netlist
from haloquant.gates.ports import MacPorts
from haloquant.gates.simulate import simulate_values
from haloquant.gates.sta import Conditions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from circuits import Wiring, small_liberty, small_library

pytestmark = pytest.mark.crosscheck
PERIOD_S = 10e-9


def chain() -> Netlist:
    """Six gates in a row from the activation to the result, their other pins at the weight."""
    wiring = Wiring()
    weight, net = wiring.net(), wiring.net()
    activation = net
    for kind in ("AND2", "INV", "NAND2", "AND2", "NAND2", "INV"):
        net = wiring.gate(kind, A=net) if kind == "INV" else wiring.gate(kind, A=net, B=weight)
    text = wiring.text(weight=("input", [weight]), activation=("input", [activation]), result=("output", [net]))
    return parse_netlist(text, small_library(), MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1))


def test_switching_and_internal_power_of_a_chain_agree(tmp_path):
    try:
        tool = find_opensta()[0]
    except ToolError as error:
        pytest.skip(str(error))
    netlist = chain()
    around = Conditions(input_slew_s=20e-12, output_load_f=3e-15)
    ours = simulate_values(netlist, small_library(), np.array([-1], np.int16), conditions=around)
    lines = [
        "read_liberty cells.lib",
        "read_verilog mac.v",
        "link_design mac",
        "set_cmd_units -time ps -capacitance fF",
        f"create_clock -name operation -period {PERIOD_S * 1e12:g}",
        "set_input_delay 0 -clock operation [get_ports a]",
        "set_input_transition 20 [get_ports a]",
        "set_load -pin_load 3 [get_ports y]",
        "set_case_analysis 1 [get_ports w]",
        "set_power_activity -input -activity 0.5 -duty 0.5",
        "report_power -digits 8",
        "exit",
    ]
    (tmp_path / "cells.lib").write_text(small_liberty())
    (tmp_path / "mac.v").write_text(netlist_verilog(netlist))
    (tmp_path / "run.tcl").write_text("\n".join([*lines, ""]))
    said = subprocess.run(
        [tool.path, "-no_init", "-no_splash", "-exit", "run.tcl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    row = re.search(r"^Combinational\s+(\S+)\s+(\S+)", said, re.MULTILINE)
    assert row is not None, said
    internal_j, switching_j = (float(value) * PERIOD_S for value in row.groups())
    print(internal_j, ours.internal_j[0, 0], switching_j, ours.switching_j[0, 0])
    assert ours.toggles[0, 0] == pytest.approx(6 * 0.5)
    assert switching_j == pytest.approx(ours.switching_j[0, 0], rel=1e-4)
    assert internal_j == pytest.approx(ours.internal_j[0, 0], rel=1e-4)
