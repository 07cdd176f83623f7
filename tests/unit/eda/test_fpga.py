"""Cells of mapped designs, where they are known by hand."""

import numpy as np
import pytest

from haloquant.circuits.rtl.constant_products import TOP, constant_products
from haloquant.eda.fpga import FpgaCells, FpgaMapping, map_to_fpga
from haloquant.errors import NetlistError


def test_a_power_of_two_is_wires() -> None:
    wires = map_to_fpga(constant_products(np.array([[64]], np.int16), 8), TOP)
    assert wires == FpgaMapping(FpgaCells(0, 0, 0), FpgaCells(0, 0, 0))


def test_a_product_may_be_one_dsp_block_and_an_adder_takes_a_look_up_table_a_bit() -> None:
    """One design, because Yosys takes seven seconds of a processor for any."""
    found = map_to_fpga(
        "module m(input signed [15:0] a, b, output signed [31:0] y, input [7:0] c, d, output [7:0] s);"
        "assign y = a * b; assign s = c + d; endmodule",
        "m",
    )
    assert found.with_dsps.dsps == 1
    assert 7 <= found.with_dsps.luts <= 9 and found.with_dsps.carries == 2  # what is left beside the block: the adder
    assert found.without_dsps.dsps == 0 and 128 < found.without_dsps.luts < 900  # 16 x 16 products of bits, added


def test_verilog_that_yosys_refuses() -> None:
    with pytest.raises(NetlistError, match="the Verilog must be accepted by Yosys"):
        map_to_fpga("module m(input a output b); endmodule", "m")
