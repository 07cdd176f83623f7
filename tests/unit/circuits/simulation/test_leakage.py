"""Leakage by state, computed by hand."""

import numpy as np

from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.simulation.leakage import leakage_w
from support.circuits import Wiring, small_library

ONE_BIT = np.array([-1, 0], np.int16)  # weight pin at 1, at 0


def chain():
    """result = !(weight & activation): AND2 drives INV drives the port."""
    wiring = Wiring()
    weight, activation = wiring.net(), wiring.net()
    both = wiring.gate("AND2", A=weight, B=activation)
    result = wiring.gate("INV", A=both)
    text = wiring.text(weight=("input", [weight]), activation=("input", [activation]), result=("output", [result]))
    ports = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)
    return parse_netlist(text, small_library(), ports)


def test_leakage_goes_by_state():
    """AND2 leaks 5 nW where both inputs are high and 2 nW else, INV 5 nW where its input is high and 2 nW else."""
    np.testing.assert_allclose(leakage_w(chain(), small_library(), ONE_BIT), [(5 + 5 + 2 + 2) / 2 * 1e-9, 4e-9])
