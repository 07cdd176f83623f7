"""Checks static timing with OpenSTA: the same netlist and library, one case analysis for each weight value.

Only tests and benchmarks use this module. OpenSTA runs in a temporary folder with a time limit. It gets a netlist that
this module writes (instance `g12` is gate 12), a copy of the library, and a script of fixed words and numbers.

The copy of the library has no `default_wire_load`. OpenSTA would add this statistical wire to every net (Nangate45:
5-7 % slower), and our timing has no wires.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int16

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Instances, Netlist
from haloquant.circuits.ports import weight_pins
from haloquant.circuits.timing.case_analysis import FREE
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.endpoints import gate_analyses
from haloquant.circuits.timing.static_timing import analyze_timing
from haloquant.errors import NetlistError, ToolError
from haloquant.units import FEMTO, PICO

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,200}")
_PERIOD_PS = 0.001  # arbitrary: the delay of a path is the period minus its slack


@dataclass(frozen=True, slots=True)
class OpenSta:
    """An installed OpenSTA."""

    path: str
    version: str


@dataclass(frozen=True, eq=False, slots=True)
class CaseAnalysisRun:
    """Longest path for each weight value (0 if no output can change), and wall time of the process and of its
    analyses.
    """

    delay_s: Float64[np.ndarray, " w"]
    process_s: float
    values_s: float


@dataclass(frozen=True, slots=True)
class DisabledArc:
    """An arc of a gate that OpenSTA must not use."""

    gate: int
    related: str
    pin: str


@dataclass(frozen=True, eq=False)
class PartialArrivals:
    """Arrival and slew in s of the rising and the falling edge of each partial-sum bit."""

    delay_s: Float64[np.ndarray, "bit 2"]
    slew_s: Float64[np.ndarray, "bit 2"]


def find_opensta() -> tuple[OpenSta, ...]:
    """Return every `sta` on the search path, each once, in the order of the path.

    Raises:
        ToolError: If there is none.
    """
    found: dict[str, OpenSta] = {}
    for folder in os.get_exec_path():
        binary = shutil.which("sta", path=folder)
        if binary and (real := str(Path(binary).resolve())) not in found:
            said = subprocess.run((real, "-version"), capture_output=True, text=True, timeout=30, check=False)
            words = (said.stdout + said.stderr).split()
            found[real] = OpenSta(real, words[-1] if words else "unknown")
    if not found:
        raise ToolError("the cross-check needs OpenSTA, and no `sta` was found; Debian's package is `opensta`")
    return tuple(found.values())


def case_delays(
    tool: OpenSta,
    netlist: Netlist,
    liberty_text: str,
    weights: Int16[np.ndarray, "w *products"],
    conditions: Conditions | None = None,
    disabled: Sequence[DisabledArc] = (),
    time_limit_s: float = 600.0,
    partial: PartialArrivals | None = None,
) -> CaseAnalysisRun:
    """Return the longest path (s) for each weight value, all computed by one process.

    Args:
        tool: the OpenSTA to run.
        netlist: the MAC.
        liberty_text: the text of its cell library.
        weights: the weight values; of a dot-product element one for each product.
        conditions: slews and load. The rule `slews` is ignored, because OpenSTA always takes "enabled".
        disabled: arcs that OpenSTA must not use for any value.
        time_limit_s: limit for the whole process.
        partial: when and how steeply the partial sum arrives; None means at 0 with the input slew. OpenSTA has no way
            to say that a port moves as another one does.

    Raises:
        ToolError: If OpenSTA fails or exceeds the limit.
        NetlistError: If the name of a cell or pin is not a plain Verilog identifier.
    """
    script = [*_setup(netlist, conditions or Conditions())]
    for bit, (delays, slews) in enumerate(zip(partial.delay_s, partial.slew_s, strict=True) if partial else ()):
        for edge, delay_s, slew_s in zip(("rise", "fall"), delays, slews, strict=True):
            port = f"[get_ports p[{bit}]]"
            script.append(f"set_input_delay {delay_s / PICO:.9g} -{edge} -clock clk {port}")
            script.append(f"set_input_transition {slew_s / PICO:.9g} -{edge} {port}")
    script += [f"set_disable_timing -from {d.related} -to {d.pin} [get_cells g{d.gate}]" for d in disabled]
    script.append("set begun [clock microseconds]")
    for i, pins in enumerate(weight_pins(netlist.ports, weights)):
        script += [f"set_case_analysis {int(level)} [get_ports w[{b}]]" for b, level in enumerate(pins)]
        script += [
            "set ends [find_timing_paths -path_delay max]",
            f'if {{[llength $ends]}} {{puts "halo {i} [get_property [lindex $ends 0] slack]"}} '
            f'else {{puts "halo {i} none"}}',
        ]
    script += ['puts "halo took [expr {[clock microseconds] - $begun}]"']
    began = time.perf_counter()
    said = _run(tool, netlist, liberty_text, script, time_limit_s)
    process_s = time.perf_counter() - began
    slack: dict[str, str] = dict(re.findall(r"^halo (\w+) (\S+)$", said, re.MULTILINE))
    if len(slack) != len(weights) + 1:
        raise ToolError(f"OpenSTA {tool.version} must answer for every weight, but stopped: {_last_words(said)}")
    period = _PERIOD_PS if netlist.clock_net >= 0 else 0.0
    delay = [0.0 if slack[str(i)] == "none" else (period - float(slack[str(i)])) * PICO for i in range(len(weights))]
    return CaseAnalysisRun(np.array(delay), process_s, float(slack["took"]) * 1e-6)


def case_path(
    tool: OpenSta, netlist: Netlist, liberty_text: str, weight: int, conditions: Conditions | None = None
) -> list[tuple[int, str]]:
    """Return the pins of OpenSTA's longest path for one weight, as (gate, pin), without register pins.

    Raises:
        ToolError: If OpenSTA fails or exceeds the limit.
    """
    pins = weight_pins(netlist.ports, np.array([weight], dtype=np.int16))[0]
    script = [*_setup(netlist, conditions or Conditions())]
    script += [f"set_case_analysis {int(level)} [get_ports w[{b}]]" for b, level in enumerate(pins)]
    script.append("report_checks -path_delay max -format full -fields {input}")
    said = _run(tool, netlist, liberty_text, script, 120.0)
    return [(int(gate), pin) for gate, pin in re.findall(r"\bg(\d+)/(\w+)", said)]


def idle_arcs(netlist: Netlist, library: Library, weight: int | Int16[np.ndarray, " products"]) -> list[DisabledArc]:
    """Return the arcs that cannot change their gate's output for one weight, although their input is free.

    They follow from an exact analysis of the gate's function. OpenSTA of 2019 looks at each term of a function alone
    and misses some (`!A1 !B + !A2 !B` with A1 = 0 does not depend on A2). With these arcs disabled it agrees with us.

    Raises:
        NetlistError: If the weight does not fit the port, or the library lacks a cell, pin, function or arc.
    """
    state = analyze_timing(netlist, library, np.array([weight], dtype=np.int16)).state[:, 0]
    analyses, gates = gate_analyses(netlist, library), netlist.gates
    idle: list[DisabledArc] = []
    for g in range(len(gates)):
        analysis = analyses[int(gates.kind[g])]
        inputs = state[gates.input_net[gates.input_start[g] : gates.input_start[g + 1]]].tolist()
        case = analysis.case(inputs)
        live = {(arc.related, arc.pin) for arc, mask in zip(analysis.arcs, case.enabled, strict=True) if mask}
        every = {
            (arc.related, arc.pin)
            for arc, i, j in zip(analysis.arcs, analysis.arc_input, analysis.arc_output, strict=True)
            if [*inputs, *case.outputs][i] == case.outputs[j] == FREE
        }
        idle += [DisabledArc(g, related, pin) for related, pin in sorted(every - live)]
    return idle


def netlist_verilog(netlist: Netlist) -> str:
    """Return the netlist as structural Verilog: module `mac`, ports w, a, p, clk, y, gates g0.. and registers r0.. .

    Raises:
        NetlistError: If the name of a cell or pin is not a plain Verilog identifier.
    """
    for name in {n for kind in netlist.kinds for n in (kind.name, *kind.inputs, *kind.outputs)}:
        if not _IDENTIFIER.fullmatch(name):
            raise NetlistError(f"a cell or pin must have a plain Verilog name to be cross-checked, not {name[:60]!r}")
    wire = {0: "1'b0", 1: "1'b1", **{n: f"1'b{v}" for n, v in zip(netlist.tied_net, netlist.tied_value, strict=True)}}
    inputs = {"w": netlist.weight_net, "a": netlist.activation_net, "p": netlist.partial_net}
    for port, nets in inputs.items():
        wire.update({int(net): f"{port}[{i}]" for i, net in enumerate(nets)})
    if netlist.clock_net >= 0:
        wire[netlist.clock_net] = "clk"
    assigns: list[str] = []
    for i, net in enumerate(netlist.result_net.tolist()):
        if net in wire:
            assigns.append(f"assign y[{i}] = {wire[net]};")
        else:
            wire[net] = f"y[{i}]"
    declared = [f"input [{len(nets) - 1}:0] {port}" for port, nets in inputs.items() if len(nets)]
    declared += ["input clk"] if netlist.clock_net >= 0 else []
    inner = [net for net in range(netlist.nets) if net not in wire]
    wire.update({net: f"n{net}" for net in inner})
    lines = [f"module mac ({', '.join([*declared, f'output [{len(netlist.result_net) - 1}:0] y'])});"]
    lines += [f"wire n{net};" for net in inner]
    lines += _instances(netlist, netlist.gates, "g", wire) + _instances(netlist, netlist.registers, "r", wire)
    return "\n".join([*lines, *assigns, "endmodule", ""])


def _instances(netlist: Netlist, instances: Instances, letter: str, wire: dict[int, str]) -> list[str]:
    lines: list[str] = []
    for i in range(len(instances)):
        kind = netlist.kinds[instances.kind[i]]
        nets = [
            *instances.input_net[instances.input_start[i] : instances.input_start[i + 1]].tolist(),
            *instances.output_net[instances.output_start[i] : instances.output_start[i + 1]].tolist(),
        ]
        pins = zip([*kind.inputs, *kind.outputs], nets, strict=True)
        lines.append(f"{kind.name} {letter}{i} ({', '.join(f'.{pin}({wire[net]})' for pin, net in pins)});")
    return lines


def _setup(netlist: Netlist, conditions: Conditions) -> list[str]:
    ports = ["[get_ports a]", *(["[get_ports p]"] if len(netlist.partial_net) else [])]
    script = [
        "read_liberty cells.lib",
        "read_verilog mac.v",
        "link_design mac",
        "set_cmd_units -time ps -capacitance fF",
    ]
    if netlist.clock_net >= 0:
        script += [
            f"create_clock -name clk -period {_PERIOD_PS} [get_ports clk]",
            f"set_clock_transition {conditions.clock_slew_s / PICO:.9g} [get_clocks clk]",
            *(f"set_input_delay 0 -clock clk {port}" for port in ports),
            "set_output_delay 0 -clock clk [get_ports y]",
        ]
    else:
        script.append(f"set_max_delay 0 -from [concat {' '.join(ports)}] -to [get_ports y]")
    script += [f"set_input_transition {conditions.input_slew_s / PICO:.9g} {port}" for port in ports]
    script.append(f"set_load -pin_load {conditions.output_load_f / FEMTO:.9g} [get_ports y]")
    return script


def _run(tool: OpenSta, netlist: Netlist, liberty_text: str, script: Sequence[str], time_limit_s: float) -> str:
    with tempfile.TemporaryDirectory(prefix="haloquant-sta-") as name:
        folder = Path(name)
        bare = re.sub(r"^\s*default_wire_load\s*:[^;\n]*;?", "", liberty_text, flags=re.MULTILINE)
        (folder / "cells.lib").write_text(bare)
        (folder / "mac.v").write_text(netlist_verilog(netlist))
        (folder / "run.tcl").write_text("\n".join([*script, "exit", ""]))
        try:
            done = subprocess.run(
                (tool.path, "-no_init", "-no_splash", "-exit", "run.tcl"),
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=time_limit_s,
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ToolError(f"OpenSTA {tool.version} must finish within {time_limit_s:g} s, but did not") from None
    said = done.stdout + done.stderr
    if done.returncode or re.search(r"^Error", said, re.MULTILINE):
        raise ToolError(f"OpenSTA {tool.version} must accept the netlist, but failed: {_last_words(said)}")
    return said


def _last_words(said: str) -> str:
    errors = [line for line in said.splitlines() if line.startswith("Error")]
    return (errors or said.splitlines() or ["no output"])[-1][:300]
