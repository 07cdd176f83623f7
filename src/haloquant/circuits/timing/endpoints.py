"""The start and end points of paths: constant nets for each weight, register outputs, register inputs."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int16, UInt8

from haloquant.circuits.liberty.records import Constraint, Library, TimingArc
from haloquant.circuits.liberty.table_interpolation import Table
from haloquant.circuits.netlist.parser import Netlist, library_cells
from haloquant.circuits.ports import weight_pins
from haloquant.circuits.timing.case_analysis import FREE, CaseAnalysis
from haloquant.errors import NetlistError


@dataclass(frozen=True, eq=False, slots=True)
class Launch:
    """A register output, where paths start, and its clock-to-output arc."""

    name: str
    net: int
    arc: TimingArc


@dataclass(frozen=True, eq=False, slots=True)
class Capture:
    """A register input, where paths end. If `setup` is None, the path ends at the arrival without a setup time."""

    name: str
    pin: str
    net: int
    setup: Constraint | None


def initial_states(
    netlist: Netlist, weights: Int16[np.ndarray, "w *products"], any_weight: bool = False
) -> UInt8[np.ndarray, "n w"]:
    """Return the state of every net before propagation: 0 or 1 for constants, weight pins and tied pins, else FREE.

    With `any_weight`, weight pins are FREE, too: no value is known, but no edge starts there.

    Raises:
        NetlistError: If a weight does not fit the weight port.
    """
    states = np.full((netlist.nets, len(weights)), FREE, dtype=np.uint8)
    states[0], states[1] = 0, 1
    states[netlist.tied_net] = netlist.tied_value[:, None]
    if not any_weight:
        states[netlist.weight_net] = weight_pins(netlist.ports, weights).T
    return states


def gate_analyses(netlist: Netlist, library: Library) -> dict[int, CaseAnalysis]:
    """Return the case analysis of every combinational cell type, by its index in `netlist.kinds`.

    Raises:
        NetlistError: If a cell lacks a function, or an arc that its function needs.
    """
    cells = library_cells(netlist, library)
    return {k: CaseAnalysis(netlist.kinds[k], cells[k]) for k in sorted(set(netlist.gates.kind.tolist()))}


def launches(netlist: Netlist, library: Library) -> list[Launch]:
    """Return the clock-to-output arcs of all register outputs.

    Raises:
        NetlistError: If a register's cell has no such arc.
    """
    found: list[Launch] = []
    cells, registers = library_cells(netlist, library), netlist.registers
    for i, name in enumerate(registers.names):
        kind, cell = netlist.kinds[registers.kind[i]], cells[registers.kind[i]]
        outputs = registers.output_net[registers.output_start[i] : registers.output_start[i + 1]]
        for pin, net in zip(kind.outputs, outputs, strict=True):
            arcs = [arc for arc in cell.arcs if arc.pin == pin and arc.kind in ("rising_edge", "falling_edge")]
            if not arcs:
                raise NetlistError(f"cell {cell.name} (register {name}) must have a clock-to-{pin} arc, but has none")
            found += [Launch(name, int(net), arc) for arc in arcs]
    return found


def captures(netlist: Netlist, library: Library) -> list[Capture]:
    """Return every register input that the next state depends on, once per setup constraint."""
    found: list[Capture] = []
    cells, registers = library_cells(netlist, library), netlist.registers
    for i, name in enumerate(registers.names):
        kind, cell = netlist.kinds[registers.kind[i]], cells[registers.kind[i]]
        inputs = registers.input_net[registers.input_start[i] : registers.input_start[i + 1]]
        for pin, net in zip(kind.inputs, inputs, strict=True):
            if cell.register is not None and pin in cell.register.next_state.inputs:
                checks = [c for c in cell.constraints if c.pin == pin and c.kind.startswith("setup")]
                found += [Capture(name, pin, int(net), check) for check in checks or [None]]
    return found


def delay_tables(arc: TimingArc, output_edge: int) -> tuple[Table | None, Table | None]:
    """Return the delay table and the transition table of an arc for one edge of its output (0 rise, 1 fall)."""
    if output_edge == 0:
        return arc.cell_rise, arc.rise_transition
    return arc.cell_fall, arc.fall_transition
