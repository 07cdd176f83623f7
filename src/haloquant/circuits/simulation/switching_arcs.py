"""Select and read the library tables for the delay and energy of each way in which a gate can switch.

The tables are read at the slews and loads of static timing for each weight value. So the slew of a pin is the largest
that can arrive there with this weight, not the slew of the simulated event. A sensitised delay is therefore never above
the static delay, and may be slightly pessimistic.

The tables of a minterm are the same for every gate of a cell, so they are selected once per cell (`SwitchingTables`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from haloquant.circuits.liberty.boolean_functions import BooleanFunction, table_over_inputs
from haloquant.circuits.liberty.records import Cell, InternalPower, TimingArc
from haloquant.circuits.liberty.table_interpolation import Table
from haloquant.errors import LibertyError

Slews = Callable[[int, int], Float64[np.ndarray, " w"]]  # (pin, level after the edge) -> slew (s) for each weight


@dataclass(frozen=True, eq=False, slots=True)
class SwitchingTables:
    """The tables that apply if a change of one pin leads to one of some minterms.

    A term is one arc or power group that applies. Its tables are added, because a library may have one for each supply
    pin. With several terms, a delay is their maximum and an energy is their mean.
    """

    pin: int
    level: int  # level of the pin after its change
    output: int  # new level of the output, or of the pin itself: selects the load
    minterms: tuple[int, ...]
    terms: tuple[tuple[Table, ...], ...]


@dataclass(frozen=True, eq=False, slots=True)
class CellSwitchingTables:
    """All tables of one output of a cell, and its function by minterm m (input i has the level `m >> i & 1`)."""

    pins: int
    truth: tuple[int, ...]
    delay: tuple[SwitchingTables, ...]
    internal: tuple[SwitchingTables, ...]
    hidden: tuple[SwitchingTables, ...]  # for the edges of the input pins themselves; the same for every output


def cell_switching_tables(cell: Cell, output: str) -> CellSwitchingTables:
    """Select the tables of a combinational cell for each minterm.

    For delays, the arcs from a pin to this output edge are filtered in steps: by a matching `timing_sense`, then by a
    `when` that is true in the minterm, then by having a `when`. A step that would leave no arc is skipped; this happens
    if several pins change together. For internal energy, the groups whose `when` is true are taken, else those without
    `when`, else all groups of the pin. Energy of the pin itself has no third alternative.

    Raises:
        LibertyError: If the output has no function, or no arc from a pin that it depends on.
    """
    truth = truth_table(cell, output).astype(int)
    delay, internal, hidden = list[SwitchingTables](), list[SwitchingTables](), list[SwitchingTables]()
    for p, pin in enumerate(cell.inputs):
        level = np.arange(truth.size) >> p & 1
        if not np.array_equal(truth, truth[np.arange(truth.size) ^ (1 << p)]):
            delay += _delays(cell, output, p, truth)
        groups = [group for group in cell.powers if group.pin == output and group.related == pin.name]
        internal += _energies(cell, groups, p, truth, last_resort=True)
        groups = [group for group in cell.powers if group.pin == pin.name and group.related is None]
        hidden += _energies(cell, groups, p, level, last_resort=False)
    return CellSwitchingTables(len(cell.inputs), tuple(truth.tolist()), tuple(delay), tuple(internal), tuple(hidden))


def read_gate_tables(
    readings: Sequence[SwitchingTables],
    pins: int,
    slews: Slews,
    load_f: tuple[float, float],
    weights: int,
    combine: Callable[..., np.ndarray],
) -> Float64[np.ndarray, "w pin m"]:
    """Read the tables for one gate; entries without a table are 0.

    Args:
        readings: the tables of its cell.
        pins: number of inputs.
        slews: gives the slew of each pin and edge.
        load_f: load of the output when it falls and when it rises.
        weights: number of weight values.
        combine: combines several terms along axis 0: `np.max` or `np.mean`.
    """
    found = np.zeros((weights, pins, 1 << pins))
    for reading in readings:
        slew = slews(reading.pin, reading.level)
        load = load_f[reading.output]
        terms = [sum(read_table(table, slew, load) for table in tables) for tables in reading.terms]
        value = terms[0] if len(terms) == 1 else combine(terms, axis=0)
        for m in reading.minterms:
            found[:, reading.pin, m] = value
    return found


def read_table(table: Table, slew_s: np.ndarray, load_f: float) -> np.ndarray:
    """Read a table at many slews and one load by bilinear interpolation; see `table_interpolation.look_up`."""
    rows, columns, values = table.rows, table.columns, table.values
    j = 0
    column = values[:, 0]
    if columns.size > 1:
        j = min(max(int(np.searchsorted(columns, load_f, side="right")) - 1, 0), columns.size - 2)
        v = (load_f - columns[j]) / (columns[j + 1] - columns[j])
        column = (1 - v) * values[:, j] + v * values[:, j + 1]
    if rows.size == 1:
        return np.full(slew_s.size, column[0])
    i = np.clip(np.searchsorted(rows, slew_s, side="right") - 1, 0, rows.size - 2)
    u = (slew_s - rows[i]) / (rows[i + 1] - rows[i])
    return (1 - u) * column[i] + u * column[i + 1]


def truth_table(cell: Cell, output: str) -> Bool[np.ndarray, " m"]:
    """Return the value of the output in every minterm of the cell's inputs.

    Raises:
        LibertyError: The output has no function.
    """
    function = cell.pin(output).function
    if function is None:
        raise LibertyError(f"pin {output} of cell {cell.name} must have a function, but has none")
    return table_over_inputs(function, tuple(pin.name for pin in cell.inputs)).astype(bool)


def condition_minterms(cell: Cell, when: BooleanFunction | None) -> Bool[np.ndarray, " m"]:
    """Return for every minterm of the cell's inputs whether a condition on inputs and outputs is true.

    Raises:
        LibertyError: The condition names an output that has no function.
    """
    inputs = tuple(pin.name for pin in cell.inputs)
    rows = 1 << len(inputs)
    if when is None:
        return np.ones(rows, bool)
    row = np.zeros(rows, np.int64)
    for i, name in enumerate(when.inputs):
        level = np.arange(rows) >> inputs.index(name) & 1 if name in inputs else truth_table(cell, name)
        row |= level.astype(np.int64) << i
    return when.table()[row].astype(bool)


def leakage_table(cell: Cell) -> Float64[np.ndarray, " m"]:
    """Return the leakage power (W) of a cell in every minterm; the unconditional value where no condition is true.

    Raises:
        LibertyError: A condition names an output that has no function.
    """
    anywhere = [entry.power_w for entry in cell.leakage if entry.when is None]
    power = np.zeros(1 << len(cell.inputs))
    known = np.zeros(power.size, bool)
    for entry in cell.leakage:
        if entry.when is not None:
            where = condition_minterms(cell, entry.when)
            power[where] += entry.power_w
            known |= where
    return np.where(known, power, sum(anywhere) if anywhere else cell.leakage_w)


def _delays(cell: Cell, output: str, p: int, truth: np.ndarray) -> list[SwitchingTables]:
    related = cell.inputs[p].name
    arcs = [a for a in cell.arcs if a.pin == output and a.related == related and a.kind.startswith("combinational")]
    where = [condition_minterms(cell, arc.when) for arc in arcs]
    groups: dict[tuple[int, int, tuple[int, ...]], list[int]] = {}
    for m, value in enumerate(truth.tolist()):
        chosen = _arcs_for(arcs, where, m >> p & 1, value, m)
        if not chosen:
            raise LibertyError(f"cell {cell.name} must have a timing arc from {related} to {output}, but has none")
        groups.setdefault((m >> p & 1, value, chosen), []).append(m)
    found: list[SwitchingTables] = []
    for (level, value, chosen), minterms in groups.items():
        tables = [arcs[a].cell_rise if value else arcs[a].cell_fall for a in chosen]
        terms = tuple((table,) for table in tables if table is not None)
        found.append(SwitchingTables(p, level, value, tuple(minterms), terms))
    return found


def _arcs_for(arcs: Sequence[TimingArc], where: list[np.ndarray], level: int, value: int, m: int) -> tuple[int, ...]:
    to_edge = [i for i, a in enumerate(arcs) if (a.cell_rise if value else a.cell_fall) is not None]
    same = "positive_unate" if level == value else "negative_unate"
    fitting = [i for i in to_edge if arcs[i].sense in (same, "non_unate")] or to_edge
    holding = [i for i in fitting if where[i][m]] or fitting
    return tuple([i for i in holding if arcs[i].when is not None] or holding)


def _energies(
    cell: Cell, groups: list[InternalPower], p: int, edge: np.ndarray, *, last_resort: bool
) -> list[SwitchingTables]:
    conditions: dict[str, list[InternalPower]] = {}
    for group in groups:
        conditions.setdefault(group.when.text if group.when else "", []).append(group)
    where = {text: condition_minterms(cell, members[0].when) for text, members in conditions.items()}
    found: dict[tuple[int, int, tuple[str, ...]], list[int]] = {}
    for m, up in enumerate(edge.tolist()):
        holding = [text for text in conditions if text and where[text][m]] or [text for text in conditions if not text]
        if not holding and last_resort:
            holding = list(conditions)
        if holding:
            found.setdefault((m >> p & 1, int(up), tuple(holding)), []).append(m)
    selected: list[SwitchingTables] = []
    for (level, up, holding), minterms in found.items():
        tables = [[g.rise if up else g.fall for g in conditions[text]] for text in holding]
        terms = tuple(tuple(table for table in term if table is not None) for term in tables)
        selected.append(SwitchingTables(p, level, up, tuple(minterms), terms))
    return selected
