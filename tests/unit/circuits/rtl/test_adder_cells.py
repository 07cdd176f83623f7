"""Adder cells of a library as Verilog modules."""

import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.rtl.adder_cells import adder_verilog
from haloquant.errors import LibertyError
from support.mapping_library import mapping_library_text


def _adder(name: str, total: str, carry: str) -> str:
    pins = "".join(f"pin ({p}) {{ direction : input; capacitance : 1; }}\n" for p in "PQR")
    outputs = f'pin (T) {{ direction : output; function : "{total}"; }}\n'
    outputs += f'pin (U) {{ direction : output; function : "{carry}"; }}'
    return f"cell ({name}) {{ area : {len(name)};\n{pins}{outputs} }}\n"


def test_adder_cells_are_found_by_what_they_compute():
    head, _, tail = mapping_library_text().rpartition("}\n")
    inverted = _adder("FAN", "!(P ^ Q ^ R)", "!((P & Q) | (P & R) | (Q & R))")
    other = _adder("NO", "P ^ Q ^ R", "P & Q & R")
    text = adder_verilog(parse_liberty(head + inverted + other + "}\n" + tail, "adders.lib"))
    assert "FAN cell_ (.P(a), .Q(b), .R(c), .T(x), .U(y));\n  assign s = ~x;\n  assign co = ~y;" in text
    assert "module ha (input a, input b, output s, output co);\n  assign s = a ^ b;" in text


def test_a_library_without_adders():
    sentence = r"mapping.lib: a netlist that keeps its structure needs a full-adder .*; map with partitions instead"
    with pytest.raises(LibertyError, match=sentence):
        adder_verilog(parse_liberty(mapping_library_text(), "mapping.lib"))
