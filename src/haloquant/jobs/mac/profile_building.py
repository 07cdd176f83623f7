"""Characterize a MAC (`catalogue`) with a cell library: synthesize, time and simulate it. The result is its profile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from haloquant.circuits.characterization import (
    cell_area_m2,
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
from haloquant.circuits.rtl.dot_products import multiples_ports, multiples_verilog
from haloquant.circuits.simulation.partial_sums import PartialSums
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.eda.yosys import ABC_SCRIPTS, Synthesis, synthesize
from haloquant.errors import InputError, LibertyError
from haloquant.jobs.mac.catalogue import MacSource
from haloquant.records import MacProfile
from haloquant.store.cell_libraries import read_library
from haloquant.store.partial_sums import DEMO_FILE, read_partial_sums

Delays = Float64[np.ndarray, " w"]
Energies = Float64[np.ndarray, " w"]


def choose_script(script: str | None, keep_adders: bool) -> str:
    """Return the named ABC script; without a name `keep` if adders are kept, else `balance`.

    Raises:
        InputError: There is no such script.
    """
    if script is not None and script not in ABC_SCRIPTS:
        raise InputError(f"the ABC script must be one of {', '.join(ABC_SCRIPTS)}, not {script!r}")
    return script or ("keep" if keep_adders else "balance")


def has_flip_flop(library: Library) -> bool:
    """Return whether a library has a flip-flop that synthesis may use."""
    return any(cell.register is not None and not cell.dont_use for cell in library.cells.values())


def synthesize_mac(
    source: MacSource, liberty: Path, period_s: float, *, keep_adders: bool = False, script: str | None = None
) -> tuple[Synthesis, Netlist, Library]:
    """Synthesize a MAC onto a cell library, and return the synthesis, the mapped netlist and the library.

    Args:
        source: The MAC; the parts that it names are mapped separately.
        liberty: The cell library.
        period_s: Target period of the MAC in seconds; `source` scales it for its parts.
        keep_adders: Keep the design's own full-adder structure.
        script: A key of `ABC_SCRIPTS`; None lets `choose_script` choose.

    Raises:
        LibertyError: The MAC has registers, and the library has no flip-flop.
    """
    chosen = choose_script(script, keep_adders)
    library = read_library(liberty)
    if source.ports.clock and not has_flip_flop(library):
        raise LibertyError(
            f"{liberty} must have a flip-flop, because {source.name} has registers, and has none; add the library's "
            "sequential cells to the file"
        )
    synthesis = synthesize(
        source.verilog,
        liberty,
        period_s * source.period,
        adders=adder_verilog(library) if keep_adders else None,
        abc_script=chosen,
        partitions={part: period_s * factor for part, factor in source.parts},
        driven=dict.fromkeys(source.driven, smallest_inverter(library).name),
        left_out=library.left_out,
        top=source.ports.top,
        parameters=source.ports.parameters,
        output_load_f=typical_conditions(library).output_load_f,
    )
    return synthesis, parse_netlist(synthesis.json_text, library, source.ports), library


def partial_sums_for(ports: MacPorts, named: str) -> tuple[PartialSums | None, str]:
    """Return the statistics from which a MAC's partial sums are drawn, and a line for the profile's provenance.

    Args:
        ports: Ports of the MAC.
        named: `demo` for statistics measured on the demo model's layers (the Gaussian model if there are none for the
            MAC's widths), `gaussian` for the Gaussian model, or a file of `store.partial_sums`.

    Returns:
        The statistics, or None for the Gaussian model or for a MAC that adds no partial sum; and the line.

    Raises:
        InputError: The file is missing or malformed, or has no partial sums of the MAC's widths.
    """
    if ports.partial is None:
        return None, "none: the multiplier alone"
    if ports.floating or ports.formatted:
        return None, "sums of up to 128 products of Gaussian weights and activations"
    if ports.multiples:
        return None, "Gaussian model of 128 rows of the words"
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


def characterize_mac(
    source: MacSource,
    liberties: Sequence[Path],
    period_s: float,
    *,
    keep_adders: bool = False,
    script: str | None = None,
    dynamic: bool = True,
    partial_sums: str = "demo",
    provenance: Mapping[str, str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> MacProfile:
    """Return the profile of a MAC: its delay at every corner, and its energy and sensitised delay.

    Delays come from static timing; energies and sensitised delays from a simulation of every gate's switching events.

    Args:
        source: The MAC.
        liberties: One file per corner of the same cells; the MAC is synthesized for the first.
        period_s: Target period of synthesis in seconds.
        keep_adders: Keep the design's own full-adder structure instead of restructuring it.
        script: A key of `ABC_SCRIPTS`; None lets `choose_script` choose.
        dynamic: Whether to simulate. Without it energies are NaN, and functions that need energies refuse the profile.
        partial_sums: Source of the partial sums, see `partial_sums_for`.
        provenance: Further entries of the profile's provenance.
        progress: Called with the name of a task, its parts done and its parts in all.
    """
    tell = progress or (lambda task, done, total: None)
    sums, sums_line = partial_sums_for(source.ports, partial_sums)
    tell("synthesize", 0, 1)
    synthesis, netlist, first = synthesize_mac(source, liberties[0], period_s, keep_adders=keep_adders, script=script)
    tell("synthesize", 1, 1)
    libraries = [first, *(read_library(path) for path in liberties[1:])]

    def simulated(net: Netlist, library: Library, conditions: Conditions) -> tuple[Delays, Energies]:
        # The first corner simulates every activation transition; the others a sample, which is enough for the mean.
        return (exhaustive_simulation if library is first else sampled_simulation)(net, library, conditions, sums)

    spent = f"; delay is that of all {source.cycles} cycles" if source.cycles > 1 else ""
    profile = characterize(
        netlist,
        libraries,
        description=source.description + spent,
        name=f"{first.name}_{source.name}",
        dynamic=simulated if dynamic else None,
        provenance={
            **synthesis.provenance,
            **(provenance or {}),
            **({"partial_sums": sums_line} if dynamic else {}),
            **(row_provenance(source.ports, liberties[0], period_s, script) if source.ports.multiples else {}),
        },
        progress=lambda done, total: tell("characterize corners", done, total),
    )
    return replace(profile, delay_s=profile.delay_s * source.cycles) if source.cycles > 1 else profile


def row_provenance(ports: MacPorts, liberty: Path, period_s: float, script: str | None) -> dict[str, str]:
    """Return what stands at the activations of a dot-product element, for one product: area in m2, energy in J.

    `activation_register_j` is the energy of one register bit of the activation in one cycle, with random data. The
    multiples of a row are made once, by adders with registers of their own: `multiples_area_m2`, `multiples_j` (a
    cycle) and `multiples_s` (their delay with setup).
    """
    _, register_j, _ = _measure_row((1,), ports.activation_bits, liberty, period_s, script)
    found = {"activation_register_j": f"{register_j / ports.activation_bits:.6g}"}
    if len(ports.multiples) > 1:
        area_m2, energy_j, delay_s = _measure_row(ports.multiples, ports.activation_bits, liberty, period_s, script)
        found |= {
            "multiples": ", ".join(map(str, ports.multiples)),
            "multiples_area_m2": f"{area_m2:.6g}",
            "multiples_j": f"{energy_j:.6g}",
            "multiples_s": f"{delay_s:.6g}",
        }
    return found


def _measure_row(
    multiples: tuple[int, ...], bits: int, liberty: Path, period_s: float, script: str | None
) -> tuple[float, float, float]:
    """Return area (m2), energy of a cycle (J) and delay (s) of the module that registers multiples of an activation."""
    verilog, ports = multiples_verilog(multiples, bits), multiples_ports(multiples, bits)
    source = MacSource("multiples", "multiples of an activation", verilog, ports)
    _, netlist, library = synthesize_mac(source, liberty, period_s, script=script)
    around, still = typical_conditions(library), np.zeros(1, np.int16)
    energy = simulate_values(netlist, library, still, None, around).energy_j[0, 0]
    return cell_area_m2(netlist, library), float(energy), float(static_delays(netlist, library, still, around)[0])
