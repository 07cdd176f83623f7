"""From a MAC (`pipeline.units`) and a cell library to its profile: synthesize, time, simulate."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from haloquant.circuits.characterization import (
    characterize,
    exhaustive_simulation,
    sampled_simulation,
    smallest_inverter,
    typical_conditions,
)
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.rtl.adder_cells import adder_verilog
from haloquant.circuits.simulation.partial_sums import PartialSums
from haloquant.circuits.timing.conditions import Conditions
from haloquant.eda.yosys import ABC_SCRIPTS, Synthesis, synthesize
from haloquant.errors import InputError
from haloquant.jobs.mac.catalogue import Source
from haloquant.records import MacProfile
from haloquant.store.cell_libraries import read_library
from haloquant.store.partial_sums import DEMO_FILE, read_partial_sums

Delays = Float64[np.ndarray, " w"]
Energies = Float64[np.ndarray, " w"]


def script_for(script: str | None, keep_adders: bool) -> str:
    """The ABC script asked for, or the one that suits: all adders kept, or restructured.

    Raises:
        InputError: there is no such script.
    """
    if script is not None and script not in ABC_SCRIPTS:
        raise InputError(f"the ABC script must be one of {', '.join(ABC_SCRIPTS)}, not {script!r}")
    return script or ("keep" if keep_adders else "balance")


def build(
    source: Source, liberty: Path, period_s: float, *, keep_adders: bool = False, script: str | None = None
) -> tuple[Synthesis, Netlist, Library]:
    """Synthesize a MAC onto a library, and read both back.

    Args:
        source: the MAC; parts that it names are mapped alone.
        liberty: the cell library.
        period_s: what synthesis aims at; `source` scales it for its parts.
        keep_adders: keep the design's own full-adder structure.
        script: a key of `ABC_SCRIPTS`; `script_for` chooses where None.
    """
    chosen = script_for(script, keep_adders)
    library = read_library(liberty)
    made = synthesize(
        source.verilog,
        liberty,
        period_s * source.period,
        adders=adder_verilog(library) if keep_adders else None,
        abc_script=chosen,
        partitions={part: period_s * factor for part, factor in source.parts},
        driven=dict.fromkeys(source.driven, smallest_inverter(library).name),
        output_load_f=typical_conditions(library).output_load_f,
    )
    return made, parse_netlist(made.json_text, library, source.ports), library


def partial_sums_for(ports: MacPorts, named: str) -> tuple[PartialSums | None, str]:
    """What a MAC's partial sums are drawn from, and how its profile is to say so.

    Args:
        ports: of the MAC.
        named: `demo` for those measured on the demo model's layers (the Gaussian model where none are of the MAC's
            widths), `gaussian` for the model, or a file of `store.partial_sums`.

    Returns:
        The statistics, or None for the Gaussian model or a MAC that adds nothing; a line for the provenance.

    Raises:
        InputError: the file is none, or has no partial sums of the MAC's widths.
    """
    if ports.partial is None:
        return None, "none: the multiplier alone"
    bits = (weight_values(ports).size - 1).bit_length(), ports.activation_bits
    if named != "gaussian":
        path = DEMO_FILE if named == "demo" else Path(named)
        if not path.is_file():
            raise InputError(f"partial sums must be demo, gaussian or a file of them, not {named!r}")
        known = read_partial_sums(path)
        for each in known:
            if (each.weight_bits, each.activation_bits) == bits:
                return each, each.source
        if named != "demo":
            there = ", ".join(f"{each.weight_bits}x{each.activation_bits}" for each in known) or "none"
            raise InputError(
                f"{path} must hold partial sums of {bits[0]}x{bits[1]} bits (weight x activation), as this MAC adds; "
                f"it holds {there}"
            )
    return None, f"Gaussian model of 128 rows of {bits[0]}x{bits[1]} bits, one independent of the other"


def profile(
    source: Source,
    liberties: Sequence[Path],
    period_s: float,
    *,
    keep_adders: bool = False,
    script: str | None = None,
    dynamic: bool = True,
    partial_sums: str = "demo",
    progress: Callable[[str, int, int], None] | None = None,
) -> MacProfile:
    """Characterise a MAC: delay at every corner, energy and sensitised delay by event-accurate simulation.

    Args:
        source: the MAC.
        liberties: one file per corner of the same cells; the first is the one it is synthesized for.
        period_s: what synthesis aims at.
        keep_adders: keep the design's own full-adder structure instead of restructuring it.
        script: a key of `ABC_SCRIPTS`; `script_for` chooses where None.
        dynamic: simulate; without it energies are NaN, and nothing that needs energy accepts the profile.
        partial_sums: see `partial_sums_for`.
        progress: called with (task, done, total).
    """
    tell = progress or (lambda task, done, total: None)
    sums, said = partial_sums_for(source.ports, partial_sums)
    tell("synthesize", 0, 1)
    made, netlist, first = build(source, liberties[0], period_s, keep_adders=keep_adders, script=script)
    tell("synthesize", 1, 1)
    libraries = [first, *(read_library(path) for path in liberties[1:])]

    def simulated(net: Netlist, library: Library, conditions: Conditions) -> tuple[Delays, Energies]:
        # Every activation transition at the first corner; at the others a sample is enough for the mean.
        return (exhaustive_simulation if library is first else sampled_simulation)(net, library, conditions, sums)

    spent = f"; delay is that of all {source.cycles} cycles" if source.cycles > 1 else ""
    made_of = characterize(
        netlist,
        libraries,
        description=source.description + spent,
        name=f"{first.name}_{source.name}",
        dynamic=simulated if dynamic else None,
        provenance={**made.provenance, **({"partial_sums": said} if dynamic else {})},
        progress=lambda done, total: tell("characterize corners", done, total),
    )
    return replace(made_of, delay_s=made_of.delay_s * source.cycles) if source.cycles > 1 else made_of
