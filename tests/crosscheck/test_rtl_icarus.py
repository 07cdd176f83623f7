"""The generated Verilog in another program: Icarus Verilog runs every weight against every activation."""

import shutil
import subprocess
from pathlib import Path

import pytest

from haloquant.circuits.ports import weight_pins, weight_values
from haloquant.circuits.rtl.generator import ROWS, MacSpec, generate, ports_of

pytestmark = pytest.mark.crosscheck

QUICK = [
    MacSpec(rows="boothw", tree="array", adder="ks", stage="fused"),
    MacSpec(rows="sm", stage="pipe", accumulator="rca"),
    MacSpec(rows="digits", adder="ks", bypass="both"),
    MacSpec(rows="sx", tree="array", adder="rca", stage="mac", weight_bits=4),
]
ALL = [
    MacSpec(rows=rows, tree=tree, adder=adder, stage=stage)
    for rows in ROWS
    for tree in ("array", "dadda")
    for adder, stage in (("rca", "mul"), ("bk", "mac"), ("ks", "pipe"), ("bk", "fused"))
    if (rows, stage) != ("native", "fused")
]


def bench(spec: MacSpec) -> str:
    """A test bench that prints the number of wrong results; partial sums are random.

    Activations come in Gray code and a partial sum stays for four of them: the simulator takes time for what changes.
    """
    ports = ports_of(spec)
    values = weight_values(ports).tolist()
    words = [sum(int(pin) << i for i, pin in enumerate(row)) for row in weight_pins(ports, weight_values(ports))]
    table = "".join(f"word[{i}]={w}; value[{i}]={v};\n" for i, (w, v) in enumerate(zip(words, values, strict=True)))
    extra = (".partial(partial), " if ports.partial else "") + (".clk(clk), " if ports.clock else "")
    return f"""
module bench;
  reg [{ports.weight_bits - 1}:0] weight; reg signed [{ports.activation_bits - 1}:0] activation; reg clk;
  reg signed [{ports.result_bits - 1}:0] partial, wanted; wire signed [{ports.result_bits - 1}:0] result;
  integer word[0:{len(words) - 1}], value[0:{len(words) - 1}], i, a, wrong;
  mac dut ({extra}.weight(weight), .activation(activation), .result(result));
  initial begin
    wrong = 0; clk = 0; {table}
    for (i = 0; i < {len(words)}; i = i + 1) for (a = 0; a < {1 << ports.activation_bits}; a = a + 1) begin
      weight = word[i]; activation = a ^ (a >> 1); if (a % 4 == 0) partial = {"$random" if ports.partial else "0"}; #1;
      {"clk = 1; #1; clk = 0; #1;" if ports.clock else ""}
      wanted = value[i] * activation + partial;
      if (result !== wanted) wrong = wrong + 1;
    end
    $display("%0d wrong", wrong);
  end
endmodule
"""


def run(spec: MacSpec, folder: Path) -> str:
    if shutil.which("iverilog") is None:
        pytest.skip("needs Icarus Verilog (apt install iverilog)")
    (folder / "mac.v").write_text(generate(spec) + bench(spec))
    subprocess.run(["iverilog", "-o", "mac.vvp", "mac.v"], cwd=folder, check=True, timeout=60)
    return subprocess.run(
        ["vvp", "-n", "mac.vvp"], cwd=folder, check=True, timeout=120, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("spec", QUICK, ids=lambda spec: spec.name)
def test_units_in_icarus(spec: MacSpec, tmp_path: Path):
    assert run(spec, tmp_path).strip() == "0 wrong"


@pytest.mark.slow
@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_all_units_in_icarus(spec: MacSpec, tmp_path: Path):
    assert run(spec, tmp_path).strip() == "0 wrong"
