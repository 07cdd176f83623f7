"""One inverter and one NAND timed by hand, and how the explanation writes it down.

Tables of `gate_cases`: slews 0.1 and 0.3 ns by loads 0.01 and 0.03 pF. Activation a (slew 0.2 ns, so u = 1/2) drives
INV, which drives NAND2/A (0.020 pF rising: v = 1/2; 0.024 pF falling: v = 7/10), which drives 0.02 pF (v = 1/2).

INV, output rising:  delay (0.10 + 0.14 + 0.20 + 0.28) / 4 = 0.18; slew (0.05 + 0.07 + 0.15 + 0.21) / 4 = 0.12
INV, output falling: delay 0.5 (0.08 + 0.7 * 0.08) + 0.5 (0.12 + 0.7 * 0.12) = 0.170
                     slew  0.5 (0.04 + 0.7 * 0.06) + 0.5 (0.06 + 0.7 * 0.10) = 0.106
NAND2 A, output rising  (input falls, slew 0.106, u = 0.03): 0.97 * 0.20 + 0.03 * 0.30 = 0.203; arrives at 0.373
NAND2 A, output falling (input rises, slew 0.12, u = 0.1):   0.9 * 0.08 + 0.1 * 0.14 = 0.086; arrives at 0.266
"""

import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.path_report import HEADERS, path_rows, path_text
from haloquant.circuits.timing.paths import worst_path
from haloquant.circuits.timing.static_timing import analyze_timing
from haloquant.errors import NetlistError
from support.gate_cases import library_text, netlist_json
from support.near import near

LIBRARY = parse_liberty(library_text())
NETLIST = parse_netlist(
    netlist_json(
        {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", [4])},
        {"u1": ("INV", {"A": 3, "Y": 5}), "u2": ("NAND2", {"A": 5, "B": 2, "Y": 4})},
    ),
    LIBRARY,
    MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1),
)
CONDITIONS = Conditions(input_slew_s=0.2e-9, output_load_f=0.02e-12)


def test_arrivals_and_slews():
    timing = analyze_timing(NETLIST, LIBRARY, None, CONDITIONS)
    inner, result = int(NETLIST.gates.output_net[0]), int(NETLIST.result_net[0])
    assert timing.weights.tolist() == [-1, 0]
    assert timing.arrival_s[inner, :, 0] == near([0.18e-9, 0.170e-9])
    assert timing.slew_s[inner, :, 0] == near([0.12e-9, 0.106e-9])
    assert timing.arrival_s[result, :, 0] == near([0.373e-9, 0.266e-9])
    assert timing.delay_s == near([0.373e-9, 0.0])


def test_the_path_gate_by_gate():
    path = worst_path(NETLIST, LIBRARY, -1, CONDITIONS)
    assert (path.start, path.start_edge, path.end) == ("activation", "rise", "result[0]")
    assert path.delay_s == near(0.373e-9)
    first, second = path.steps
    assert (first.gate, first.from_edge, first.to_edge) == ("u1", "rise", "fall")
    assert (first.delay.lookup.row_fraction, first.delay.lookup.column_fraction) == near((0.5, 0.7))
    assert second.delay.lookup.corners == near((0.10e-9, 0.20e-9, 0.30e-9, 0.40e-9))
    assert second.delay.rows == near((0.1e-9, 0.3e-9))
    assert second.input_slew_s == near(0.106e-9)


def test_the_path_as_rows():
    rows = path_rows(worst_path(NETLIST, LIBRARY, -1, CONDITIONS))
    assert {len(row) for row in rows} == {len(HEADERS)}
    assert rows == [
        ("", "", "activation rises", "", "", "", "", "0.000"),
        ("u1", "INV", "A↑ → Y↓", "200.000", "24.000", "170.000", "106.000", "170.000"),
        ("u2", "NAND2", "A↓ → Y↑", "106.000", "20.000", "203.000", "150.000", "373.000"),
    ]


def test_the_path_in_words():
    assert path_text(worst_path(NETLIST, LIBRARY, -1, CONDITIONS)) == (
        "mac with weight -1, library small: 373.000 ps to result[0]\n"
        "activation rises at 0 ps\n"
        "\n"
        "u1 (INV) A↑ → Y↓; drives n5: 24.0000 fF\n"
        "  delay at (200.0000 ps, 24.0000 fF) in [100.0000, 300.0000] ps x [10.0000, 30.0000] fF, u=0.50000 v=0.70000: "
        "0.15000*80.000 + 0.15000*120.000 + 0.35000*160.000 + 0.35000*240.000 = 170.000 ps\n"
        "  slew  at (200.0000 ps, 24.0000 fF) in [100.0000, 300.0000] ps x [10.0000, 30.0000] fF, u=0.50000 v=0.70000: "
        "0.15000*40.000 + 0.15000*60.000 + 0.35000*100.000 + 0.35000*160.000 = 106.000 ps\n"
        "  arrives at 170.000 ps\n"
        "\n"
        "u2 (NAND2) A↓ → Y↑; drives result: 20.0000 fF\n"
        "  delay at (106.0000 ps, 20.0000 fF) in [100.0000, 300.0000] ps x [10.0000, 30.0000] fF, u=0.03000 v=0.50000: "
        "0.48500*100.000 + 0.01500*200.000 + 0.48500*300.000 + 0.01500*400.000 = 203.000 ps\n"
        "  slew  at (106.0000 ps, 20.0000 fF) in [100.0000, 300.0000] ps x [10.0000, 30.0000] fF, u=0.03000 v=0.50000: "
        "0.48500*100.000 + 0.01500*100.000 + 0.48500*200.000 + 0.01500*200.000 = 150.000 ps\n"
        "  arrives at 373.000 ps\n"
        "\n"
        "path delay 373.000 ps\n"
    )


def test_nothing_to_explain_where_nothing_moves():
    with pytest.raises(NetlistError, match=r"^no path to explain: with weight 0 nothing in mac moves$"):
        worst_path(NETLIST, LIBRARY, 0, CONDITIONS)
