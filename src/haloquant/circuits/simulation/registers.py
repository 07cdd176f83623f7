"""Tables of registers for the simulation: clock-to-output delays, energies of data pins, energy of the clock pin."""

import numpy as np
from jaxtyping import Float64, Int32

from haloquant.circuits.liberty.boolean_functions import table_over_inputs
from haloquant.circuits.liberty.records import Cell
from haloquant.circuits.liberty.table_interpolation import Table
from haloquant.circuits.simulation.switching_arcs import Slews, read_table
from haloquant.errors import NetlistError
from haloquant.units import FEMTO


def data_pins(cell: Cell) -> tuple[str, ...]:
    """Return the pins that a register's next state depends on.

    Raises:
        NetlistError: If the cell is not a register.
    """
    if cell.register is None:
        raise NetlistError(f"cell {cell.name} must be a register, and is none")
    return cell.register.next_state.inputs


def register_truth(cell: Cell, output: str) -> list[int]:
    """Return the output after the clock edge for every minterm of the data pins.

    Raises:
        NetlistError: If the output is neither the state nor the inverted state of the register.
    """
    pins = data_pins(cell)
    function = cell.pin(output).function
    register = cell.register
    if register is None or function is None or function.inputs not in ((register.state,), (register.inverted,)):
        raise NetlistError(f"pin {output} of register cell {cell.name} must be a state of the register, and is not")
    table = table_over_inputs(register.next_state, pins)
    inverts = (function.inputs[0] == register.inverted) != bool(function.table()[0])
    return [int(value) ^ inverts for value in table]


def register_slots(
    cell: Cell, output: str, clock_slew_s: float, load_f: tuple[float, float], weights: int
) -> tuple[Int32[np.ndarray, "w pin m"], Float64[np.ndarray, "w pin m"]]:
    """Return the delay (fs) from clock to output and the internal energy (J), for the minterm of the data pins after.

    Args:
        cell: the register.
        output: its output pin.
        clock_slew_s: slew at the clock pin.
        load_f: load of the output when it falls and when it rises.
        weights: number of weight values.

    Raises:
        NetlistError: If the register has no clock-to-output arc.
    """
    truth = register_truth(cell, output)
    arcs = [arc for arc in cell.arcs if arc.pin == output and arc.kind in ("rising_edge", "falling_edge")]
    if not arcs:
        raise NetlistError(f"cell {cell.name} must have a clock-to-{output} arc, but has none")
    clock = arcs[0].related
    groups = [group for group in cell.powers if group.pin == output and group.related == clock]
    delay_fs, energy_j = [1, 1], [0.0, 0.0]
    for edge in (0, 1):
        tables = [arc.cell_rise if edge else arc.cell_fall for arc in arcs]
        delay_fs[edge] = max(1, round(max(_read(table, clock_slew_s, load_f[edge]) for table in tables) / FEMTO))
        energies = [_read(group.rise if edge else group.fall, clock_slew_s, load_f[edge]) for group in groups]
        conditions = len({group.when.text if group.when else "" for group in groups})
        energy_j[edge] = sum(energies) / max(conditions, 1)
    shape = (weights, len(data_pins(cell)), 1)
    delays = np.tile(np.array([delay_fs[value] for value in truth], np.int32), shape)
    return delays, np.tile(np.array([energy_j[value] for value in truth]), shape)


def data_slots(cell: Cell, slews: Slews, weights: int) -> Float64[np.ndarray, "w pin m"]:
    """Return the energy (J) of an edge of a data pin itself, the mean over the library's conditions.

    `slews` takes the position of a pin in `data_pins`.
    """
    pins = data_pins(cell)
    energy = np.zeros((weights, len(pins), 1 << len(pins)))
    for p, pin in enumerate(pins):
        groups = [group for group in cell.powers if group.pin == pin and group.related is None]
        conditions = len({group.when.text if group.when else "" for group in groups})
        for m in range(energy.shape[2]):
            level = m >> p & 1
            for group in groups:
                table = group.rise if level else group.fall
                if table is not None:
                    energy[:, p, m] += read_table(table, slews(p, level), 0.0) / conditions
    return energy


def clock_energy_j(cell: Cell, clock_slew_s: float) -> float:
    """Return the energy (J) of a rising and a falling clock edge, the mean over the library's conditions."""
    clocks = cell.register.clocked_on.inputs if cell.register else ()
    groups = [group for group in cell.powers if group.pin in clocks and group.related is None]
    conditions = len({group.when.text if group.when else "" for group in groups})
    total = sum(_read(group.rise, clock_slew_s, 0.0) + _read(group.fall, clock_slew_s, 0.0) for group in groups)
    return total / max(conditions, 1)


def _read(table: Table | None, slew_s: float, load_f: float) -> float:
    return 0.0 if table is None else float(read_table(table, np.array([slew_s]), load_f)[0])
