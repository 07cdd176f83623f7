"""Map Verilog onto a Xilinx 7-series FPGA with Yosys (`synth_xilinx`), and count look-up tables and DSP blocks."""

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
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


def map_to_fpga(designs: Sequence[str], top: str, time_limit_s: float = 900.0) -> list[FpgaMapping]:
    """Return the cells of combinational designs without memories, each of one module.

    One run of Yosys maps all: it reads the FPGA's cells once, which takes longer than a small design. Nothing is shared
    between designs. Both mappings share what comes before DSP blocks, and leave out the mapping of memories, which
    would read the library of block memories for nothing. Cells are the same as those of two whole runs of
    `synth_xilinx` for each design.

    Args:
        designs: Verilog of each design.
        top: The name of the module in every design.
        time_limit_s: Wall-clock limit for each design.

    Raises:
        ToolError: Yosys is missing, fails or exceeds the limit.
        NetlistError: Yosys refuses the Verilog.
    """
    yosys = find_yosys()
    with tempfile.TemporaryDirectory(prefix="haloquant-yosys-") as name:
        folder = Path(name)
        for number, verilog in enumerate(designs):
            (folder / f"mac.v{number}").write_text(verilog)
        (folder / "all.v").write_text(_around(len(designs)))
        (folder / "synth.ys").write_text(_script(len(designs), top))
        log = run_script(yosys, folder, time_limit_s * len(designs))
        files = [folder / f"{mapping}.json" for mapping in ("without_dsps", "with_dsps")]
        if not all(file.is_file() for file in files):
            raise_failure(yosys, log)
        cells = zip(*(_cells(file, len(designs)) for file in files), strict=True)
        return [FpgaMapping(*pair) for pair in cells]


def _around(count: int) -> str:
    """Return a module that holds every design once. Its ports are open: what is in a design does not depend on them."""
    parts = "".join(f"(* keep *) design{number} u{number}();\n" for number in range(count))
    return f"module all();\n{parts}endmodule\n"


def _script(count: int, top: str) -> str:
    lines: list[str] = []
    for number in range(count):
        lines += [f"read_verilog mac.v{number}", f"rename {top} design{number}"]
    command = "synth_xilinx -family xc7 -flatten -noiopad -noclkbuf -top all"
    lines += [
        "setattr -mod -set keep_hierarchy 1 design*",
        "read_verilog all.v",
        f"{command} -run begin:map_dsp",
        "design -save flat",
    ]
    for mapping, option in (("without_dsps", " -nodsp"), ("with_dsps", "")):
        lines += [
            "design -load flat",
            f"{command}{option} -run map_dsp:map_memory",
            f"{command}{option} -run map_ffram:",
            "select design*",
            f"write_json -selected {mapping}.json",
            "select -clear",
        ]
    return "\n".join([*lines, ""])


def _cells(netlist: Path, count: int) -> list[FpgaCells]:
    modules = msgspec.json.decode(netlist.read_bytes())["modules"]
    found: list[FpgaCells] = []
    for number in range(count):
        kinds = Counter(cell["type"] for cell in modules[f"design{number}"]["cells"].values())
        luts = sum(cells for kind, cells in kinds.items() if _LUT.fullmatch(kind))
        found.append(FpgaCells(luts, kinds["DSP48E1"], kinds["CARRY4"]))
    return found
