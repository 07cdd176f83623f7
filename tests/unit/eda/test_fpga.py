"""Cells of mapped designs, where they are known by hand."""

import numpy as np
import pytest

from haloquant.circuits.rtl.constant_products import TOP, constant_products
from haloquant.eda.fpga import FpgaCells, FpgaMapping, map_to_fpga
from haloquant.errors import NetlistError


def test_a_power_of_two_is_wires_and_a_product_may_be_one_dsp_block() -> None:
    wires = map_to_fpga(constant_products(np.array([[64]], np.int16), 8), TOP)
    assert wires == FpgaMapping(FpgaCells(0, 0, 0), FpgaCells(0, 0, 0))
    verilog = "module m(input signed [15:0] a, b, output signed [31:0] y); assign y = a * b; endmodule"
    found = map_to_fpga(verilog, "m")
    assert found.with_dsps.dsps == 1
    assert (
        found.without_dsps.dsps == 0 and 128 < found.without_dsps.luts < 900
    )  # 16 x 16 products of bits and their adders


def test_one_adder_takes_a_look_up_table_a_bit() -> None:
    verilog = "module m(input [7:0] a, b, output [7:0] y); assign y = a + b; endmodule"
    added = map_to_fpga(verilog, "m").without_dsps
    assert 7 <= added.luts <= 9 and added.carries == 2


def test_verilog_that_yosys_refuses() -> None:
    with pytest.raises(NetlistError, match="the Verilog must be accepted by Yosys"):
        map_to_fpga("module m(input a output b); endmodule", "m")
