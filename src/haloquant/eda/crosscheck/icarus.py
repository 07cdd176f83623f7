"""Runs a Verilog simulation in Icarus Verilog and returns its output and the files that it wrote."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from haloquant.eda.crosscheck.processes import run_program
from haloquant.errors import ToolError


@dataclass(frozen=True, slots=True)
class Icarus:
    """The two programs of an installed Icarus Verilog."""

    compiler: Path
    runtime: Path


def find_icarus() -> Icarus:
    """Find Icarus Verilog on the search path.

    Raises:
        ToolError: If `iverilog` or `vvp` is missing.
    """
    found = {name: shutil.which(name) for name in ("iverilog", "vvp")}
    compiler, runtime = found["iverilog"], found["vvp"]
    if compiler is None or runtime is None:
        missing = " and ".join(name for name, path in found.items() if path is None)
        raise ToolError(
            f"Icarus Verilog must be installed to be compared with, but {missing} is not on the search path"
        )
    return Icarus(Path(compiler), Path(runtime))


def icarus_version(icarus: Icarus, limit_s: float = 10.0) -> str:
    """Return the version that the compiler reports, e.g. "11.0"."""
    text = run_program([str(icarus.compiler), "-V"], Path.cwd(), limit_s, "iverilog -V")
    match = re.search(r"Icarus Verilog version (\S+)", text)
    if match is None:
        raise ToolError(f"iverilog -V must name its version, and printed: {text[:80]!r}")
    return match.group(1)


def run_verilog(icarus: Icarus, files: dict[str, str], limit_s: float) -> dict[str, str]:
    """Compile and run a simulation in a temporary folder, with the delays of `specify` blocks.

    Args:
        icarus: the programs.
        files: text by file name; every `.v` is compiled, other files are put into the same folder (for `$readmemh`).
        limit_s: time limit (s) for compiling, and again for running.

    Returns:
        The files that the simulation wrote, as text by file name, and under `stdout` its output.

    Raises:
        ToolError: If a program fails or exceeds the limit; the message has the first lines of its output.
    """
    with TemporaryDirectory(prefix="haloquant-icarus-") as name:
        folder = Path(name)
        for file, text in files.items():
            if Path(file).name != file:
                raise ToolError(f"a file of a simulation must have a plain name, not {file!r}")
            (folder / file).write_text(text, encoding="ascii")
        sources = sorted(file for file in files if file.endswith(".v"))
        compile_command = [str(icarus.compiler), "-g2012", "-gspecify", "-o", "simulation.vvp", *sources]
        run_program(compile_command, folder, limit_s, "iverilog")
        printed = run_program([str(icarus.runtime), "-n", "simulation.vvp"], folder, limit_s, "vvp")
        written = {path.name for path in folder.iterdir()} - {*files, "simulation.vvp"}
        return {"stdout": printed, **{file: (folder / file).read_text(encoding="ascii") for file in sorted(written)}}
