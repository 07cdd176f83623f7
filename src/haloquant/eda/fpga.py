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


@dataclass(frozen=True, slots=True)
class FpgaMapping:
    """One design mapped twice: multipliers become look-up tables, or may become DSP blocks."""

    without_dsps: FpgaCells
    with_dsps: FpgaCells


def map_to_fpga(verilog: str, top: str, time_limit_s: float = 900.0) -> FpgaMapping:
    """Return the cells of a combinational design without memories.

    Both mappings share what comes before DSP blocks, and leave out the mapping of memories, which would read the
    library of block memories for nothing. Cells are the same as those of two whole runs of `synth_xilinx`.

    Args:
        verilog: The design.
        top: Its top module.
        time_limit_s: Wall-clock limit.

    Raises:
        ToolError: Yosys is missing, fails or exceeds the limit.
        NetlistError: Yosys refuses the Verilog.
    """
    yosys = find_yosys()
    with tempfile.TemporaryDirectory(prefix="haloquant-yosys-") as name:
        folder = Path(name)
        (folder / "mac.v").write_text(verilog)
        (folder / "synth.ys").write_text(_script(top))
        log = run_script(yosys, folder, time_limit_s)
        files = [folder / f"{mapping}.json" for mapping in ("without_dsps", "with_dsps")]
        if not all(file.is_file() for file in files):
            raise_failure(yosys, log)
        return FpgaMapping(*(_cells(file, top) for file in files))


def _script(top: str) -> str:
    command = f"synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top {top}"
    lines = ["read_verilog mac.v", f"{command} -run begin:map_dsp", "design -save flat"]
    for mapping, option in (("without_dsps", " -nodsp"), ("with_dsps", "")):
        lines += [
            "design -load flat",
            f"{command}{option} -run map_dsp:map_memory",
            f"{command}{option} -run map_ffram:",
            f"write_json {mapping}.json",
        ]
    return "\n".join([*lines, ""])


def _cells(netlist: Path, top: str) -> FpgaCells:
    module = msgspec.json.decode(netlist.read_bytes())["modules"][top]
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    luts = sum(count for kind, count in kinds.items() if _LUT.fullmatch(kind))
    return FpgaCells(luts, kinds["DSP48E1"], kinds["CARRY4"])
