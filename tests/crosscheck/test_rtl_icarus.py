"""The generated Verilog in another program: Icarus Verilog runs every weight against every activation.

Every stage of every kind of rows, with one tree or the other in turn, and every adder in blocks, meets every weight
with the least, the largest and two other activations; a dozen units meet 16 others. HALOQUANT_TEST_DRAWS=all runs a
sixteenth of all pairs, and all pairs of the dozen; `nightly` runs all pairs of every combination.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from haloquant.circuits.ports import weight_pins, weight_values
from haloquant.circuits.rtl.carry_adders import BLOCKS
from haloquant.circuits.rtl.generator import ROWS, MacSpec, generate, ports_of
from support.draws import ALL as WHOLE
from support.draws import NIGHTLY

pytestmark = [pytest.mark.crosscheck, pytest.mark.thinned]

QUICK = [
    MacSpec(rows="boothw", tree="array", adder="ks", stage="fused"),
    MacSpec(rows="sm", stage="pipe", accumulator="rca"),
    MacSpec(rows="digits", adder="ks", bypass="both"),
    MacSpec(rows="sx", tree="array", adder="rca", stage="mac", weight_bits=4),
    MacSpec(rows="digits", stage="cs4"),
    MacSpec(rows="digits", stage="cs4", bypass="both"),
    MacSpec(rows="boothw", stage="cs4", weight_bits=3),
    MacSpec(rows="onedigit", stage="cs4", weight_bits=4),
    MacSpec(rows="boothm", adder="sel4"),
    MacSpec(rows="bootha", tree="array", adder="skip3"),
    MacSpec(rows="sm", tree="array", adder="bk"),  # the profile figure-4
]
BLOCK_ADDERS = [
    MacSpec(rows=rows, tree=tree, adder=adder, stage=stage, accumulator=adder)
    for adder in BLOCKS
    for rows, tree, stage in (("boothm", "dadda", "mul"), ("sx", "array", "mac"), ("boothw", "dadda", "fused"))
]
STAGES = (("rca", "mul"), ("bk", "mac"), ("ks", "pipe"), ("bk", "fused"), ("bk", "save"), ("bk", "cs4"))
ALL = [
    MacSpec(rows=rows, tree=tree, adder=adder, stage=stage)
    for i, rows in enumerate(ROWS)
    for j, tree in enumerate(("array", "dadda"))
    for k, (adder, stage) in enumerate(STAGES)
    if NIGHTLY or (i + k) % 2 == j or rows in ("onedigit", "native")
    if not (rows == "native" and stage in ("fused", "cs4")) and (rows != "onedigit" or stage == "cs4")
    if not (rows in ("onedigit", "native") and tree == "array")  # these have no tree
]
SHARE = 1 if NIGHTLY else 16 if WHOLE else 128
QUICK_SHARE = 1 if WHOLE else 16


def bench(spec: MacSpec, share: int) -> str:
    """A test bench that prints the number of wrong results; partial sums are random.

    Weight i meets the activations i, i + share, i + 2 share and so on, and the least and the largest. They come in Gray
    code, and a partial sum stays for four of them: the simulator takes time for what changes.
    """
    ports = ports_of(spec)
    values = weight_values(ports).tolist()
    words = [sum(int(pin) << i for i, pin in enumerate(row)) for row in weight_pins(ports, weight_values(ports))]
    table = "".join(f"word[{i}]={w}; value[{i}]={v};\n" for i, (w, v) in enumerate(zip(words, values, strict=True)))
    extra = (".partial(partial), " if ports.partial else "") + (".clk(clk), " if ports.clock else "")
    wide, words = ports.sum_bits, 2 if ports.carry_save else 1
    addend = "{" + ", ".join(["$random"] * (-(-ports.result_bits // 32))) + "}" if ports.partial else "0"
    even = f"partial[{wide}] = 0;" if ports.partial_registered else ""
    total = " + ".join(f"result[{wide * (i + 1) - 1}:{wide * i}]" for i in range(words))
    least = -(1 << ports.activation_bits - 1)
    start = " + ".join(f"partial[{wide * (i + 1) - 1}:{wide * i}]" for i in range(words))
    return f"""
module bench;
  reg [{ports.weight_bits - 1}:0] weight; reg signed [{ports.activation_bits - 1}:0] activation; reg clk;
  reg [{ports.result_bits - 1}:0] partial; wire [{ports.result_bits - 1}:0] result;
  reg [{wide - 1}:0] wanted, found;
  integer word[0:{len(values) - 1}], value[0:{len(values) - 1}], i, a, wrong;
  mac dut ({extra}.weight(weight), .activation(activation), .result(result));
  initial begin
    wrong = 0; clk = 0; {table}
    for (i = 0; i < {len(values)}; i = i + 1)
    begin
      weight = word[i];
      for (a = i % {share}; a < {1 << ports.activation_bits}; a = a + {share}) begin
        activation = a ^ (a >> 1); if (a / {share} % 4 == 0) partial = {addend}; check;
      end
      activation = {least}; check; activation = {-least - 1}; check;
    end
    $display("%0d wrong", wrong);
  end
  task check; begin
    {even} #1;
    {"clk = 1; #1; clk = 0; #1;" * ports.latency}
    wanted = value[i] * activation; wanted = wanted + {start}; found = {total};
    if (found !== wanted) wrong = wrong + 1;
  end endtask
endmodule
"""


def run(spec: MacSpec, folder: Path, share: int) -> str:
    if shutil.which("iverilog") is None:
        pytest.skip("needs Icarus Verilog (apt install iverilog)")
    (folder / "mac.v").write_text(generate(spec) + bench(spec, share))
    subprocess.run(["iverilog", "-o", "mac.vvp", "mac.v"], cwd=folder, check=True, timeout=60)
    return subprocess.run(
        ["vvp", "-n", "mac.vvp"], cwd=folder, check=True, timeout=120, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize("spec", QUICK, ids=lambda spec: spec.name)
def test_units_in_icarus(spec: MacSpec, tmp_path: Path):
    assert run(spec, tmp_path, QUICK_SHARE).strip() == "0 wrong"


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*ALL, *BLOCK_ADDERS], ids=lambda spec: spec.name)
def test_all_units_in_icarus(spec: MacSpec, tmp_path: Path):
    assert run(spec, tmp_path, SHARE).strip() == "0 wrong"
