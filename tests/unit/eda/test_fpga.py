"""Cells of mapped designs, where they are known by hand."""

import numpy as np
import pytest

from haloquant.circuits.rtl.constant_products import TOP, constant_products
from haloquant.eda.fpga import FpgaCells, FpgaMapping, map_to_fpga
from haloquant.errors import NetlistError


def test_designs_of_one_run_keep_their_own_cells() -> None:
    """A power of two is wires. A product may be one DSP block, and an adder takes a look-up table a bit.

    All in one run, because Yosys takes seconds of a processor for any.
    """
    both = (
        f"module {TOP}(input signed [15:0] a, b, output signed [31:0] y, input [7:0] c, d, output [7:0] s);"
        "assign y = a * b; assign s = c + d; endmodule"
    )
    wires, found = map_to_fpga([constant_products(np.array([[64]], np.int16), 8), both], TOP)
    assert wires == FpgaMapping(FpgaCells(0, 0, 0), FpgaCells(0, 0, 0))
    assert found.with_dsps.dsps == 1
    assert 7 <= found.with_dsps.luts <= 9 and found.with_dsps.carries == 2  # what is left beside the block: the adder
    assert found.without_dsps.dsps == 0 and 128 < found.without_dsps.luts < 900  # 16 x 16 products of bits, added


def test_verilog_that_yosys_refuses() -> None:
    with pytest.raises(NetlistError, match="the Verilog must be accepted by Yosys"):
        map_to_fpga(["module m(input a output b); endmodule"], "m")
