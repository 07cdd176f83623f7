"""`characterize` makes a `MacProfile` of a mapped MAC: delay, energy and leakage of each weight value at each
corner.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.liberty.table_interpolation import look_up
from haloquant.circuits.netlist.float_check import check_float
from haloquant.circuits.netlist.format_check import check_formats, said
from haloquant.circuits.netlist.logic_check import check_mac, encode_partial_sums
from haloquant.circuits.netlist.parser import Netlist, library_cells
from haloquant.circuits.ports import MacPorts, weight_values
from haloquant.circuits.profile_provenance import ROUNDING_S, netlist_provenance
from haloquant.circuits.simulation.dot_products import word_energies
from haloquant.circuits.simulation.floating_point import float_energies, format_stimuli
from haloquant.circuits.simulation.partial_sums import PartialSums
from haloquant.circuits.simulation.stimuli import Stimuli, default_stimuli, measured_stimuli
from haloquant.circuits.simulation.value_table import simulate_values
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.static_timing import static_delays
from haloquant.errors import InputError, LibertyError, NetlistError
from haloquant.records import MacProfile

_FANOUT = 4
_SAMPLES = 4096
_DIGITS = 6  # significant digits of a profile; table look-ups are less exact

DynamicAnalysis = Callable[[Netlist, Library, Conditions], tuple[Float64[np.ndarray, " w"], Float64[np.ndarray, " w"]]]
"""Returns the sensitised delay (s, or NaN if it is not known) and the energy (J) of every weight value."""


def characterize(
    netlist: Netlist,
    libraries: Sequence[Library],
    *,
    description: str,
    name: str | None = None,
    conditions: Conditions | None = None,
    dynamic: DynamicAnalysis | None = None,
    provenance: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MacProfile:
    """Characterize a MAC for every weight value that its pins can hold.

    The function first checks that the netlist computes weight * activation + partial. The figures of a dot-product
    element are those of one product: area, energy and leakage are divided by the products, and the delay is the same.

    Args:
        netlist: the mapped MAC.
        libraries: the cell library at each corner; the area comes from the first.
        description: a description of the MAC in one line.
        name: name of the profile; if None, the name of the netlist.
        conditions: boundary conditions of the MAC; if None, `typical_conditions` of each corner.
        dynamic: returns sensitised delay and energy, e.g. `exhaustive_simulation` or `sampled_simulation`; if None,
            both are NaN.
        provenance: how the netlist was made; this function adds further entries.
        progress: called with (number of finished corners, number of corners).

    Returns:
        The profile: delays in s, energies in J, leakage in W, area in m2.

    Raises:
        NetlistError: If the netlist does not compute weight * activation + partial, or a library lacks one of its
            cells.
        LibertyError: If there is no library, or the conditions must be derived and a library has no inverter.
    """
    if not libraries:
        raise LibertyError("characterize must be given at least one cell library, not none")
    checked = _check(netlist, libraries[0])
    weights, products = weight_values(netlist.ports), netlist.ports.products
    around = [conditions or typical_conditions(library) for library in libraries]
    shape = (len(libraries), weights.size)
    delay, sensitised, energy = np.zeros(shape), np.full(shape, np.nan), np.full(shape, np.nan)
    for i, library in enumerate(libraries):
        delay[i] = static_delays(netlist, library, weights, around[i])
        if dynamic is not None:
            sensitised[i], energy[i] = dynamic(netlist, library, around[i])
        if progress is not None:
            progress(i + 1, len(libraries))
    if (sensitised > delay + ROUNDING_S).any():
        raise NetlistError(
            f"{netlist.name} switches later than its static delay; the library must state a delay for every state of a "
            "cell's inputs (look for arcs with `when`), and if it does, this is a defect of haloquant: report it"
        )
    sensitised = np.minimum(sensitised, delay)
    return MacProfile(
        name=name or netlist.name,
        description=description,
        weights=weights,
        corners=tuple(library.corner for library in libraries),
        delay_s=_rounded(delay),
        sensitised_delay_s=_rounded(sensitised),
        energy_j=_rounded(energy),
        leakage_w=_rounded(np.array([_leakage_w(netlist, library) / products for library in libraries])),
        area_m2=float(_rounded(np.array([cell_area_m2(netlist, libraries[0]) / products]))[0]),
        activation_bits=netlist.ports.activation_bits,
        provenance={
            **(provenance or {}),
            "library": ", ".join(library.name for library in libraries),
            "gates": str(len(netlist.gates)),
            "registers": str(len(netlist.registers)),
            "adds": "a partial sum" if netlist.ports.partial else "nothing",
            "checked": checked,
            "input_slew_s": ", ".join(f"{c.input_slew_s:.3g}" for c in around),
            "output_load_f": ", ".join(f"{c.output_load_f:.3g}" for c in around),
            "wires": "none",
            **netlist_provenance(netlist, libraries, delay[0], dynamic is not None),
        },
    )


def _check(netlist: Netlist, library: Library) -> str:
    """Check what the netlist computes, and return in words what was tried."""
    ports = netlist.ports
    if ports.unchecked:
        return "not checked, as the ports file says: weight values are those of the pins in two's complement"
    if ports.formatted:
        tried = check_formats(netlist, library)
        return f"{tried:,} operand triples against weight * activation + partial of {said(ports)}"
    tried = (check_float if ports.floating else check_mac)(netlist, library)
    activation = "unsigned activation" if ports.unsigned_activation else "activation"
    return f"{tried:,} operand triples against weight * {activation} + partial{', saturated' * ports.saturates}"


def exhaustive_simulation(
    netlist: Netlist, library: Library, conditions: Conditions, partial_sums: PartialSums | None = None
) -> tuple[Float64[np.ndarray, " w"], Float64[np.ndarray, " w"]]:
    """Simulate all activation transitions with equal probability.

    A MAC with a partial sum has too many transitions. For it 8,192 are drawn, and the delay is the longest among them.
    For a dot-product element mixtures of words are drawn (`simulation.dot_products`), and no delay is known.

    Args:
        netlist: the mapped MAC.
        library: the cells at one corner.
        conditions: boundary conditions of the MAC.
        partial_sums: statistics to draw the partial sums from; if None, the Gaussian model of
            `stimuli.default_stimuli`.

    Returns:
        The longest sensitised delay (s) and the mean energy (J) of every weight value.

    Raises:
        NetlistError: If `simulate_values` refuses the netlist.
        InputError: If the partial sums are of another activation width.
    """
    if netlist.ports.multiples or netlist.ports.floating:
        return _mixed_words(netlist, library, conditions)
    found = simulate_values(netlist, library, None, mac_stimuli(netlist.ports, partial_sums), conditions)
    return found.delay_s, found.energy_j[0]


def sampled_simulation(
    netlist: Netlist, library: Library, conditions: Conditions, partial_sums: PartialSums | None = None
) -> tuple[Float64[np.ndarray, " w"], Float64[np.ndarray, " w"]]:
    """Simulate 4,096 randomly drawn activation transitions. Arguments and errors are those of `exhaustive_simulation`.

    Returns:
        NaN for the sensitised delay, and the mean energy (J) of every weight value.
    """
    if netlist.ports.multiples or netlist.ports.floating:
        return _mixed_words(netlist, library, conditions)
    stimuli = mac_stimuli(netlist.ports, partial_sums)
    if stimuli.transition.size > _SAMPLES:
        at = np.sort(np.random.default_rng(0).choice(stimuli.transition.size, _SAMPLES, replace=False))
        before, after = stimuli.partial_before, stimuli.partial_after
        stimuli = Stimuli(
            stimuli.activation_bits,
            stimuli.transition[at],
            stimuli.probability[:, at] / stimuli.probability[:, at].sum(axis=1, keepdims=True),
            stimuli.names,
            None if before is None else before[at],
            None if after is None else after[at],
        )
    found = simulate_values(netlist, library, None, stimuli, conditions)
    return np.full(found.delay_s.shape, np.nan), found.energy_j[0]


def _mixed_words(
    netlist: Netlist, library: Library, conditions: Conditions
) -> tuple[Float64[np.ndarray, " w"], Float64[np.ndarray, " w"]]:
    """Return no sensitised delays and the energies of the words of a dot-product or floating-point element."""
    if netlist.ports.floating:
        energy = float_energies(netlist, library, conditions)
    else:
        energy, _ = word_energies(netlist, library, conditions)
    return np.full(energy.shape, np.nan), energy


def mac_stimuli(ports: MacPorts, partial_sums: PartialSums | None) -> Stimuli:
    """Return the stimuli of a MAC: every activation transition, or drawn lanes if it adds a partial sum.

    Those of small floats are `floating_point.format_stimuli`.

    In carry-save form the partial sums are the two words of `encode_partial_sums`.

    Args:
        ports: the ports of the MAC.
        partial_sums: statistics to draw from; if None, a Gaussian model.

    Raises:
        InputError: If the partial sums are of another activation width.
    """
    if ports.formatted:
        stimuli = format_stimuli(ports)
    elif ports.partial is None or partial_sums is None:
        stimuli = default_stimuli(ports.activation_bits, ports.sum_bits if ports.partial else 0)
    elif partial_sums.activation_bits != ports.activation_bits:
        raise InputError(
            f"partial sums for this MAC must be of {ports.activation_bits} activation bits, "
            f"not {partial_sums.activation_bits}"
        )
    else:
        stimuli = measured_stimuli(partial_sums, ports.sum_bits)
    if stimuli.partial_before is None or stimuli.partial_after is None:
        return stimuli
    before, after = (
        encode_partial_sums(stimuli.partial_before, ports),
        encode_partial_sums(stimuli.partial_after, ports),
    )
    return replace(stimuli, partial_before=before, partial_after=after)


def typical_conditions(library: Library) -> Conditions:
    """Return typical boundary conditions: load and slew of the smallest inverter that drives four copies of itself.

    Raises:
        LibertyError: If the library has no inverter.
    """
    inverter = smallest_inverter(library)
    load_f = _FANOUT * inverter.inputs[0].capacitance_f
    slew_s = 0.0
    for _ in range(4):  # the slew in a chain of such inverters; three iterations reach 1 %
        slews = [
            look_up(table, slew_s, load_f).value
            for arc in inverter.arcs
            for table in (arc.rise_transition, arc.fall_transition)
            if table is not None
        ]
        slew_s = max(slews, default=0.0)
    return Conditions(input_slew_s=slew_s, clock_slew_s=slew_s, output_load_f=load_f)


def smallest_inverter(library: Library) -> Cell:
    """Return the inverter with the smallest area.

    Raises:
        LibertyError: If the library has no inverter.
    """
    inverters = [cell for cell in library.cells.values() if _is_inverter(cell)]
    if not inverters:
        raise LibertyError(f"{library.source}: the library must have an inverter, and has none")
    return min(inverters, key=lambda cell: (cell.area_m2, cell.name))


def _is_inverter(cell: Cell) -> bool:
    if cell.dont_use or len(cell.inputs) != 1 or len(cell.outputs) != 1:
        return False
    function = cell.outputs[0].function
    return function is not None and function.inputs == (cell.inputs[0].name,) and function.table().tolist() == [1, 0]


def _cells(netlist: Netlist, library: Library) -> list[Cell]:
    kinds = library_cells(netlist, library)
    return [kinds[k] for instances in (netlist.gates, netlist.registers) for k in instances.kind]


def _leakage_w(netlist: Netlist, library: Library) -> float:
    return sum(_cell_leakage_w(cell) for cell in _cells(netlist, library))


def _cell_leakage_w(cell: Cell) -> float:
    """Return the cell's leakage; if the library gives none (as ASAP7), the mean over the states that it lists."""
    if cell.leakage_w > 0 or not cell.leakage:
        return cell.leakage_w
    return sum(state.power_w for state in cell.leakage) / len(cell.leakage)


def cell_area_m2(netlist: Netlist, library: Library) -> float:
    """Return the area of all cells in m2.

    Raises:
        NetlistError: The library gives no areas.
    """
    area = sum(cell.area_m2 for cell in _cells(netlist, library))
    if not area > 0:
        raise NetlistError(f"netlist {netlist.name} must have cells of a known area in library {library.name}")
    return area


def _rounded(values: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Round to six significant digits. Then a profile is short, and equal on every machine."""
    return np.array([float(f"{v:.{_DIGITS}g}") for v in values.ravel()]).reshape(values.shape)
