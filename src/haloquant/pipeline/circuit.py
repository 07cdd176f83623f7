"""From a MAC and a cell library to its profile: generate or read the RTL, synthesize, time, simulate."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from jaxtyping import Float64

from haloquant.eda.yosys import Synthesis, synthesize
from haloquant.errors import InputError
from haloquant.gates.adder_cells import adder_verilog
from haloquant.gates.characterize import characterize, exhaustive, sampled
from haloquant.gates.liberty_records import Library
from haloquant.gates.netlist import Netlist, parse_netlist
from haloquant.gates.ports import MacPorts, parse_ports
from haloquant.gates.rtl import MacSpec, Rows, Stage, generate, ports_of
from haloquant.gates.rtl_heap import Adder, Tree
from haloquant.gates.sta_start import Conditions
from haloquant.store.files import read_bounded
from haloquant.store.library import read_library
from haloquant.types import MacProfile

MAX_RTL = 1 << 24
Delays = Float64[np.ndarray, " w"]
Energies = Float64[np.ndarray, " w"]


@dataclass(frozen=True)
class Source:
    """A MAC as Verilog with its ports declared."""

    name: str
    description: str
    verilog: str
    ports: MacPorts


def all_specs() -> dict[str, MacSpec]:
    """Every MAC the generator knows by a name, at 8 x 8 bits; `w4` ones have four weight bits."""
    specs: list[MacSpec] = []
    for rows in get_args(Rows):
        for tree in get_args(Tree):
            for adder in get_args(Adder):
                for stage in get_args(Stage):
                    accumulators = get_args(Adder) if stage in ("mac", "pipe") else ("bk",)
                    specs += [MacSpec(rows, tree, adder, stage, accumulator) for accumulator in accumulators]
                    if rows == "sx":
                        specs += [MacSpec(rows, tree, adder, stage, a, weight_bits=4) for a in accumulators]
    return {spec.name: spec for spec in specs}


def generated(name: str) -> Source:
    """A MAC of ours by its name.

    Raises:
        InputError: there is none of that name.
    """
    specs = all_specs()
    if name not in specs:
        near = ", ".join(sorted(specs, key=lambda known: _distance(known, name))[:4])
        raise InputError(f"the MAC must be named <rows><tree>_<adder>-<stage>, such as {near}; not {name!r}")
    spec = specs[name]
    return Source(spec.name, spec.description, generate(spec), ports_of(spec))


def from_rtl(verilog: Path, ports: Path) -> Source:
    """A person's own MAC: Verilog whose top module is `mac`, and a TOML file that declares its ports."""
    text = read_bounded(verilog, MAX_RTL).decode("utf-8", "replace")
    declared = parse_ports(read_bounded(ports, MAX_RTL).decode("utf-8", "replace"))
    return Source(verilog.stem, f"{verilog.name}, ports by {ports.name}", text, declared)


def build(source: Source, liberty: Path, period_s: float, keep_adders: bool) -> tuple[Synthesis, Netlist, Library]:
    """Synthesize a MAC onto a library, and read both back."""
    library = read_library(liberty)
    adders = adder_verilog(library) if keep_adders else None
    made = synthesize(source.verilog, liberty, period_s, adders=adders, abc_script="keep" if keep_adders else "depth")
    return made, parse_netlist(made.json_text, library, source.ports), library


def profile(
    source: Source,
    liberties: Sequence[Path],
    period_s: float,
    *,
    keep_adders: bool = False,
    dynamic: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> MacProfile:
    """Characterise a MAC: delay at every corner, energy and sensitised delay by event-accurate simulation.

    Args:
        source: the MAC.
        liberties: one file per corner of the same cells; the first is the one it is synthesized for.
        period_s: what synthesis aims at.
        keep_adders: keep the design's own full-adder structure instead of restructuring it.
        dynamic: simulate; without it energies are NaN, and nothing that needs energy accepts the profile.
        progress: called with (task, done, total).
    """
    tell = progress or (lambda task, done, total: None)
    tell("synthesize", 0, 1)
    made, netlist, first = build(source, liberties[0], period_s, keep_adders)
    tell("synthesize", 1, 1)
    libraries = [first, *(read_library(path) for path in liberties[1:])]

    def simulated(net: Netlist, library: Library, conditions: Conditions) -> tuple[Delays, Energies]:
        # Every activation transition at the first corner; at the others a sample is enough for the mean.
        return (exhaustive if library is first else sampled)(net, library, conditions)

    return characterize(
        netlist,
        libraries,
        description=source.description,
        name=f"{first.name}_{source.name}",
        dynamic=simulated if dynamic else None,
        provenance=dict(made.provenance),
        progress=lambda done, total: tell("characterize corners", done, total),
    )


def _distance(a: str, b: str) -> int:
    """Edits between two short names."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row, before = [i], row
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]
