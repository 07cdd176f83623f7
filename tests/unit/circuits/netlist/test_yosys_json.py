"""Modules of Yosys' JSON: which one is the design, and the sentences of text that is none."""

import json

import pytest

from haloquant.circuits.netlist.yosys_json import read_module
from haloquant.errors import NetlistError
from support.gate_cases import netlist_json
from support.timing_netlists import PORTS


def test_ports_cells_and_names_are_read() -> None:
    text = netlist_json({"a": ("input", [2, "1"])}, {"u": ("INV", {"A": 2, "Y": 3})})
    name, module = read_module(text)
    assert name == "mac"
    assert (module.ports["a"].direction, module.ports["a"].bits) == ("input", [2, "1"])
    assert (module.cells["u"].type, module.cells["u"].connections) == ("INV", {"A": [2], "Y": [3]})


@pytest.mark.parametrize("text", ['{"modules": [', '{"modules": {"mac": {"ports": 3}}}', "[]", ""])
def test_text_that_is_no_netlist(text: str) -> None:
    with pytest.raises(NetlistError, match=r"^a netlist must be JSON as Yosys' write_json writes it: "):
        read_module(text)


def test_several_modules_without_a_top() -> None:
    module = json.loads(netlist_json(PORTS, {}))["modules"]["mac"]
    with pytest.raises(NetlistError) as error:
        read_module(json.dumps({"modules": {"a": module, "b": module}}))
    assert (
        str(error.value)
        == "the netlist must hold one module, or mark one as top, not 2: a, b; flatten the design first"
    )
    marked = {
        "a": module,
        "b": {**module, "attributes": {"top": "1"}},
        "c": {**module, "attributes": {"blackbox": "1"}},
    }
    assert read_module(json.dumps({"modules": marked}))[0] == "b"
    del marked["a"], marked["b"]["attributes"]
    assert read_module(json.dumps({"modules": marked}))[0] == "b"
