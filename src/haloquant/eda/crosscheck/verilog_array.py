"""Runs our weight-stationary array (`data/rtl/ws_array.v`) in a Verilog simulator, to check the closed-form cycles."""

import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Int64

from haloquant.accel.cost_model.cycles import WeightLoad
from haloquant.eda.crosscheck.array_feed import ArrayProgram
from haloquant.eda.crosscheck.icarus import find_icarus, run_verilog
from haloquant.eda.crosscheck.processes import run_program
from haloquant.errors import InputError, ToolError


@dataclass(frozen=True)
class ArrayRun:
    """The result of the simulated array: cycles from the first weight row to the last sum, and the sums."""

    cycles: int
    sums: Int64[np.ndarray, "m n"]


def run_icarus(program: ArrayProgram, load: WeightLoad, limit_s: float = 60.0) -> ArrayRun:
    """Run a program on the array in Icarus Verilog.

    Raises:
        InputError: If the load is neither none nor double, the two that the array supports.
        ToolError: If Icarus is missing, fails or takes longer.
    """
    written = run_verilog(find_icarus(), _files(program, load), limit_s)
    return _read(program, written["stdout"], written["sums.hex"])


def run_verilator(program: ArrayProgram, load: WeightLoad, limit_s: float = 300.0) -> ArrayRun:
    """Run a program on the array in Verilator, which compiles it to C++ first.

    Raises:
        InputError: If the load is neither none nor double.
        ToolError: If Verilator is missing, fails or takes longer.
    """
    verilator = shutil.which("verilator")
    if verilator is None:
        raise ToolError("Verilator must be installed to run the array, but verilator is not on the search path")
    files = _files(program, load)
    with TemporaryDirectory(prefix="haloquant-verilator-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="ascii")
        sources = sorted(file for file in files if file.endswith(".v"))
        build = [verilator, "--binary", "-j", "1", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--top-module", "ws_top"]
        # The C++ is not optimized: compiling it takes far longer than the runs that a simulation of one array needs.
        build += ["-O3", "-MAKEFLAGS", "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"]
        run_program([*build, "--Mdir", "built", "-o", "array", *sources], folder, limit_s, "verilator")
        printed = run_program([str(folder / "built" / "array")], folder, limit_s, "the verilated array")
        return _read(program, printed, (folder / "sums.hex").read_text(encoding="ascii"))


def _files(program: ArrayProgram, load: WeightLoad) -> dict[str, str]:
    """Return the files of the simulation: array, test bench, top module with the sizes, program in hexadecimal."""
    if load not in (WeightLoad.NONE, WeightLoad.DOUBLE):
        raise InputError(f"weight load of the array description must be none or double, not {load}")
    folder = resources.files("haloquant") / "data" / "rtl"
    m, k = program.inputs.shape
    sizes = {
        "R": program.rows,
        "C": program.columns,
        "M": m,
        "K": k,
        "N": program.outputs,
        "TILES": len(program.weights),
        "DOUBLE": int(load is WeightLoad.DOUBLE),
    }
    parameters = ", ".join(f".{name}({value})" for name, value in sizes.items())
    rows = program.weights.reshape(-1, program.columns)[:, ::-1].astype(np.uint8)  # the last column is the highest byte
    places = np.stack([program.input_column, program.output_column, program.drain.astype(np.int32)], axis=1)
    return {
        "ws_array.v": (folder / "ws_array.v").read_text(encoding="ascii"),
        "ws_bench.v": (folder / "ws_bench.v").read_text(encoding="ascii"),
        "ws_top.v": f"`timescale 1ns / 1ps\nmodule ws_top;\n    ws_bench #({parameters}) bench ();\nendmodule\n",
        "weights.hex": "".join(row.tobytes().hex() + "\n" for row in rows),
        "tiles.hex": "".join(f"{value:x}\n" for value in places.ravel().tolist()),
        "activations.hex": "".join(f"{value:02x}\n" for value in program.inputs.astype(np.uint8).ravel().tolist()),
    }


def _read(program: ArrayProgram, printed: str, sums: str) -> ArrayRun:
    found = re.search(r"^cycles (\d+)$", printed, re.MULTILINE)
    words = [line for line in sums.splitlines() if line and not line.startswith("//")]
    m = len(program.inputs)
    if found is None or len(words) != m * program.outputs:
        raise ToolError(f"the array must print its cycles and give {m * program.outputs} sums, not {printed[:80]!r}")
    values = np.array([int(word, 16) for word in words], np.uint32).astype(np.int32).astype(np.int64)
    return ArrayRun(int(found.group(1)), values.reshape(m, program.outputs))
