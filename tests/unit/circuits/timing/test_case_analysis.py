"""Case analysis of single cells."""

from collections.abc import Mapping

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.netlist.builder import CellKind
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.timing.case_analysis import FREE, CaseAnalysis
from support.gate_cases import (
    PINS,
    Gate,
    library_text,
    netlist_json,
)

LIBRARY = parse_liberty(library_text())


TINY = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)


PORTS = {"weight": ("input", [2]), "activation": ("input", [3]), "result": ("output", [4])}


def read(gates: Mapping[str, Gate], ports: MacPorts = TINY, pins: Mapping = PORTS) -> Netlist:
    return parse_netlist(netlist_json(pins, gates), LIBRARY, ports)


@pytest.mark.parametrize("name", [*sorted(PINS), "SUM"])
def test_cases_at_once_are_each_case_tried_out(name: str):
    cell = LIBRARY.cells[name]
    inputs = tuple(pin.name for pin in cell.inputs)
    analysis = CaseAnalysis(CellKind(name, inputs, tuple(pin.name for pin in cell.outputs)), cell)
    codes = np.arange(3 ** len(inputs))
    found = analysis.cases(codes)
    for code in codes.tolist():
        case = analysis.case([code // 3**i % 3 for i in range(len(inputs))])
        assert found.masks[code].tolist() == list(case.masks)
        assert found.enabled[code].tolist() == list(case.enabled)


def test_an_exclusive_or_with_a_constant_input_follows_one_way_only():
    netlist = read({"u": ("XOR2", {"A": 3, "B": 2, "Y": 4})})
    analysis = CaseAnalysis(netlist.kinds[0], LIBRARY.cells["XOR2"])
    positive, negative = 0b1001, 0b0110
    assert analysis.case((FREE, 0)).masks == (positive, 0, 0, 0)
    assert analysis.case((FREE, 1)).masks == (0, negative, 0, 0)
    assert analysis.case((FREE, FREE)).masks == (positive, negative, positive, negative)


def test_an_arc_without_condition_gives_way_to_one_that_surely_applies():
    netlist = read({"u": ("AO21", {"A1": 2, "A2": 2, "B": 3, "Y": 4})})
    analysis = CaseAnalysis(netlist.kinds[0], LIBRARY.cells["AO21"])
    assert [a.when.text if a.when else "" for a in analysis.arcs] == ["", "", "!A1 & !A2", "A1 & !A2", ""]
    assert analysis.case((0, 0, FREE)).masks == (0, 0, 0b1001, 0, 0)
    assert analysis.case((0, 1, FREE)).masks == (0, 0, 0, 0, 0b1001)
    assert analysis.case((0, FREE, FREE)).masks == (0, 0, 0b1001, 0, 0b1001)  # and A2 cannot move the output
