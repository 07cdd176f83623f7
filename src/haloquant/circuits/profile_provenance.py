"""What a profile says of its netlist and its libraries: the parts of an element, formats, warnings, and the version."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from jaxtyping import Float64

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist, library_cells, net_loads
from haloquant.circuits.ports import MacPorts

_WARNINGS = 5  # of a library that a profile repeats
ROUNDING_S = 5e-14  # tolerance: simulation rounds the delay of each gate to 1 fs, so a long path may seem later


def netlist_provenance(
    netlist: Netlist, libraries: Sequence[Library], delay_s: Float64[np.ndarray, " w"], energies: bool
) -> dict[str, str]:
    """Return the entries of a profile's provenance on a whole element, on formats, warnings, and the version.

    Args:
        netlist: the mapped MAC.
        libraries: the cell library at each corner.
        delay_s: the static delay of every weight value at the first corner.
        energies: whether energies were simulated, so that cells without internal energies are named.
    """
    return {
        **_element_provenance(netlist, libraries[0]),
        **_format_provenance(netlist.ports),
        **_library_warnings(netlist, libraries, energies),
        **_equal_delays(netlist, delay_s),
        "haloquant": _version(),
    }


def _element_provenance(netlist: Netlist, library: Library) -> dict[str, str]:
    """Return what a whole processing element holds, and the area of a register for what stands beside it."""
    if not netlist.ports.partial_registered:
        return {}
    kinds = library_cells(netlist, library)
    ports = netlist.ports
    shared: dict[str, str] = {}
    if ports.floating:
        shared = {"floating": f"{ports.floating[0]} exponent bits, {ports.floating[1]} fraction bits"}
    if ports.multiples:
        shared = {
            "products": str(ports.products),
            "activation_pins": str(ports.activation_pins),
            "activation_input_j": f"{_input_energy_j(netlist, library) / ports.products:.6g}",
        }
    return {
        **shared,
        "element": "product registers, accumulator and partial-sum registers, with setup",
        "weight_pins": str(netlist.ports.weight_bits),
        "register_area_m2": f"{min(kinds[k].area_m2 for k in netlist.registers.kind):.6g}",
    }


def _format_provenance(ports: MacPorts) -> dict[str, str]:
    """Return the formats of operands and sum, where one is a small float."""
    if not ports.formatted:
        return {}
    names = ("weight_format", "activation_format", "result_format")
    return {name: str(getattr(ports, name)) for name in names}


def _equal_delays(netlist: Netlist, delay_s: Float64[np.ndarray, " w"]) -> dict[str, str]:
    """Return a warning if a MAC with registers is equally slow for all values, as if its logic saw none of them."""
    if not len(netlist.registers) or delay_s.size < 2 or np.ptp(delay_s) > ROUNDING_S:
        return {}
    return {
        "timing_warning": "all weight values are equally slow; if the weight passes a register before the multiplier, "
        "static timing does not know its value there: give the weight a port behind that register"
    }


def _library_warnings(netlist: Netlist, libraries: Sequence[Library], energies: bool) -> dict[str, str]:
    """Return what was odd in the libraries, and what the netlist's cells lack and therefore counts as 0."""
    said = [f"{library.name}: {warning}" for library in libraries for warning in library.warnings]
    if len(said) > _WARNINGS:
        said[_WARNINGS:] = [f"and {len(said) - _WARNINGS} more"]
    for library in libraries:
        cells = library_cells(netlist, library)
        clocked = [cells[k] for k in sorted(set(netlist.registers.kind.tolist()))]
        lacking = {
            "capacitances of input pins": [c for c in cells if not all(pin.capacitance_f for pin in c.inputs)],
            "setup times": [c for c in clocked if not any(k.kind.startswith("setup") for k in c.constraints)],
            "leakage": [c for c in cells if not c.leakage_w and not c.leakage],
            "internal energies": [c for c in cells if energies and not c.powers],
        }
        said += [
            f"{library.name}: no {what} of {', '.join(sorted({c.name for c in lack})[:4])}"
            f"{' and others' if len({c.name for c in lack}) > 4 else ''}, counted as 0"
            for what, lack in lacking.items()
            if lack
        ]
    return {"library_warnings": "; ".join(said)} if said else {}


def _input_energy_j(netlist: Netlist, library: Library) -> float:
    """Return the energy in J that random activations spend at the pins they drive: every line moves in half the cycles.

    One edge takes C V^2 / 2.
    """
    rise, fall = net_loads(netlist, library)
    load_f = float((rise + fall)[netlist.activation_net].sum()) / 2
    return load_f * library.corner.voltage_v**2 / 4


def _version() -> str:
    try:
        return version("haloquant")
    except PackageNotFoundError:
        return "unknown"
