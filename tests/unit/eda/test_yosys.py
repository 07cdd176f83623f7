"""Synthesis: what Yosys and the adapter refuse."""

from pathlib import Path

import pytest

from haloquant.circuits.rtl.generator import MacSpec, generate
from haloquant.eda.yosys import _readable, synthesize  # pyright: ignore[reportPrivateUsage]
from haloquant.errors import InputError, NetlistError, ToolError


def test_verilog_that_yosys_refuses(liberty: Path):
    with pytest.raises(NetlistError, match=r"the Verilog must be accepted by Yosys, which says: syntax error"):
        synthesize("module mac (input a output b); endmodule", liberty, 1e-9)
    with pytest.raises(
        NetlistError, match=r"the Verilog must be accepted by Yosys, which says: Module `top' not found"
    ):
        synthesize(generate(MacSpec(weight_bits=2, activation_bits=2)), liberty, 1e-9, top="top")


def test_yosys_sees_the_library_without_what_it_would_refuse(tmp_path: Path):
    path = tmp_path / "x.lib"
    text = 'library (x) {\n# old\n V = 1.1;\n cell (A) { area : 1; }\n cell (ODD) { }\n when : "a=b";\n}'
    path.write_text(text)
    odd = text.index("cell (ODD)")
    plain = _readable(path, path.read_bytes(), [odd, odd + len("cell (ODD) { }")])
    assert plain == b'library (x) {\n\n\n cell (A) { area : 1; }\n \n when : "a=b";\n}'
    path = tmp_path / "x.lib.gz"
    path.write_bytes(b"library (x) { /* \xb5 */ }")
    assert _readable(path, path.read_bytes(), []) == path.read_bytes()


def test_another_top_module_with_parameters_and_systemverilog(liberty: Path):
    text = """package p; typedef logic [1:0] two; function automatic two both(two a); return ~a; endfunction endpackage
    module own import p::*; #(parameter W = 9) (input [W-1:0] x, output [W-1:0] y); assign y = both(x); endmodule"""
    made = synthesize(text, liberty, 1e-9, top="own", parameters=(("W", 2),))
    assert "input [1:0] x" in made.verilog_text and "module own(" in made.verilog_text
    with pytest.raises(NetlistError, match=r"a parameter's name must be a plain Verilog identifier, not 'W;'"):
        synthesize(text, liberty, 1e-9, top="own", parameters=(("W;", 2),))


def test_names_that_could_be_commands_are_refused(liberty: Path):
    with pytest.raises(NetlistError, match=r"a module's name must be a plain Verilog identifier, not 'mac; exec'"):
        synthesize("", liberty, 1e-9, top="mac; exec")
    with pytest.raises(InputError, match=r"abc_script must be one of depth, .*, not 'x'"):
        synthesize("", liberty, 1e-9, abc_script="x")


def test_a_time_limit_holds(liberty: Path):
    with pytest.raises(ToolError, match=r"synthesis must end within 0.01 s, and Yosys did not; allow it more time"):
        synthesize(generate(MacSpec()), liberty, 1e-9, time_limit_s=0.01)


def test_a_missing_library(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.lib must be a file; there is none"):
        synthesize("", tmp_path / "none.lib", 1e-9)
