"""Floating-point elements in Icarus Verilog against numpy's float32, which rounds the same sums in hardware."""

import numpy as np
import pytest

from haloquant.circuits.netlist.float_check import drawn_operands
from haloquant.circuits.rtl.floating_point import CUTS, FloatSpec, float_ports, generate_float
from haloquant.eda.crosscheck.icarus import find_icarus, run_verilog
from haloquant.errors import ToolError

pytestmark = pytest.mark.crosscheck


@pytest.mark.parametrize("stages", CUTS)
def test_bfloat16_in_icarus(stages: int) -> None:
    try:
        icarus = find_icarus()
    except ToolError as error:
        pytest.skip(str(error))
    spec = FloatSpec(stages=stages)
    weight, activation, partial = drawn_operands(8, 7, 23, seed=stages, count=4000)
    x, y, z = ((v << s).astype(np.uint32).view(np.float32) for v, s in ((weight, 16), (activation, 16), (partial, 0)))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        product = x * y
        wanted = product + z
    # float32 keeps subnormal numbers and overflows in the product; the element does neither.
    exact = (product == 0) & ((x == 0) | (y == 0)) | (np.abs(product) > 1e-37) & np.isfinite(product)
    kept = exact & ((np.abs(wanted) > 1.2e-38) | (wanted == 0))
    assert kept.sum() > 3000
    patterns = np.where(wanted == 0, 0, wanted.view(np.uint32))[kept]
    count = len(patterns)
    columns = {"w": weight[kept], "a": activation[kept], "p": partial[kept], "y": patterns}
    clock = " ".join(["#1; clk = 1; #1; clk = 0;"] * float_ports(spec).latency)
    bench = f"""
module bench;
  reg [15:0] w[0:{count - 1}], a[0:{count - 1}]; reg [31:0] p[0:{count - 1}], y[0:{count - 1}];
  reg clk; reg [15:0] weight, activation; reg [31:0] partial; wire [31:0] result; integer i, wrong;
  mac dut (.weight(weight), .activation(activation), .partial(partial), .clk(clk), .result(result));
  initial begin
    $readmemh("w.hex", w); $readmemh("a.hex", a); $readmemh("p.hex", p); $readmemh("y.hex", y); wrong = 0; clk = 0;
    for (i = 0; i < {count}; i = i + 1) begin
      weight = w[i]; activation = a[i]; partial = p[i]; {clock} #1;
      if (result !== y[i]) wrong = wrong + 1;
    end
    $display("%0d wrong", wrong);
  end
endmodule
"""
    texts = {f"{name}.hex": "".join(f"{v:x}\n" for v in values.tolist()) for name, values in columns.items()}
    said = run_verilog(icarus, {"mac.v": generate_float(spec), "bench.v": bench, **texts}, 120.0)
    assert said["stdout"].strip() == "0 wrong"
