"""Map Verilog onto a Xilinx 7-series FPGA with Yosys (`synth_xilinx`), and count look-up tables and DSP blocks."""

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from haloquant.eda.yosys import find_yosys, raise_failure, run_script

_LUT = re.compile(r"LUT[1-6]")


@dataclass(frozen=True, slots=True)
class FpgaCells:
    """Cells of a mapped design: look-up tables of up to six inputs, DSP48E1 blocks, and CARRY4 blocks."""

    luts: int
    dsps: int
    carries: int


def map_to_fpga(verilog: str, top: str, *, dsps: bool, time_limit_s: float = 300.0) -> FpgaCells:
    """Return the cells of a combinational design.

    Args:
        verilog: The design.
        top: Its top module.
        dsps: Whether multipliers may become DSP blocks.
        time_limit_s: Wall-clock limit.

    Raises:
        ToolError: Yosys is missing, fails or exceeds the limit.
        NetlistError: Yosys refuses the Verilog.
    """
    yosys = find_yosys()
    options = "-family xc7 -flatten -noiopad -noclkbuf" + ("" if dsps else " -nodsp")
    script = f"read_verilog mac.v\nsynth_xilinx {options} -top {top}\n"
    with tempfile.TemporaryDirectory(prefix="haloquant-yosys-") as name:
        folder = Path(name)
        (folder / "mac.v").write_text(verilog)
        (folder / "synth.ys").write_text(f"{script}write_json netlist.json\n")
        log = run_script(yosys, folder, time_limit_s)
        netlist = folder / "netlist.json"
        if not netlist.is_file():
            raise_failure(yosys, log)
        module = msgspec.json.decode(netlist.read_bytes())["modules"][top]
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    luts = sum(count for kind, count in kinds.items() if _LUT.fullmatch(kind))
    return FpgaCells(luts, kinds["DSP48E1"], kinds["CARRY4"])
