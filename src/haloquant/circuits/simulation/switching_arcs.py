"""From library tables to the delay and energy of every way a gate can switch.

The tables are read at the slews and loads of the static pass for each weight value: a pin's slew is the worst that
static timing finds there with this weight held (its constants folded), not that of the event at hand. So a sensitised
delay is never above the static one, and may be a little pessimistic.

Which tables belong to which minterm is the same for every gate of a cell: it is worked out once, as `SwitchingTables`s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from haloquant.circuits.liberty.boolean_functions import BooleanFunction, table_over_inputs
from haloquant.circuits.liberty.nldm import Table
from haloquant.circuits.liberty.records import Cell, InternalPower, TimingArc
from haloquant.errors import LibertyError

Slews = Callable[[int, int], Float64[np.ndarray, " w"]]  # (pin, level after the edge) -> slew by weight, s


@dataclass(frozen=True, eq=False, slots=True)
class SwitchingTables:
    """Tables to be read together for some minterms that a change of one pin leads to.

    The tables of a term add up (a library may give one per supply pin). Of several terms the largest counts for a
    delay, the mean for an energy.
    """

    pin: int
    level: int  # of the pin after its change
    output: int  # level of the pin whose load is the table's second axis: the output, or the pin itself
    minterms: tuple[int, ...]
    terms: tuple[tuple[Table, ...], ...]


@dataclass(frozen=True, eq=False, slots=True)
class CellSwitchingTables:
    """All readings of one output of a cell, and its function by minterm (input i at level `m >> i & 1`)."""

    pins: int
    truth: tuple[int, ...]
    delay: tuple[SwitchingTables, ...]
    internal: tuple[SwitchingTables, ...]
    hidden: tuple[SwitchingTables, ...]  # of the input pins' own edges, the same for every output


def cell_switching_tables(cell: Cell, output: str) -> CellSwitchingTables:
    """Work out which tables of a combinational cell belong to which minterm.

    For delays: of the arcs from a pin to this output edge those of a fitting `timing_sense` count, then those whose
    `when` holds in the minterm, then those that have a `when` at all. A pin that changes together with others may fit
    no arc: then every arc to this edge counts. For internal energy: the groups whose `when` holds, else those without
    one, else all of the pin's. For the pins' own energy likewise, but without the last resort.

    Raises:
        LibertyError: a pin that the output depends on and no arc comes from, or an output without a function.
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
    """Read tables for one gate; 0 where there is no reading.

    Args:
        readings: of its cell.
        pins: how many inputs.
        slews: of each pin and edge.
        load_f: that the output sees, falling and rising.
        weights: how many weights.
        combine: of several terms (`np.max` or `np.mean`, along axis 0).
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
    """Read a table at many slews and one load, bilinearly (`nldm.look_up` is the same for one slew)."""
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
    """The output's value in every minterm of the cell's inputs."""
    function = cell.pin(output).function
    if function is None:
        raise LibertyError(f"pin {output} of cell {cell.name} must have a function, but has none")
    return table_over_inputs(function, tuple(pin.name for pin in cell.inputs)).astype(bool)


def condition_minterms(cell: Cell, when: BooleanFunction | None) -> Bool[np.ndarray, " m"]:
    """In which minterms of the cell's inputs a condition on inputs and outputs holds."""
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
    """Leakage power (W) of a cell in every minterm of its inputs; its unconditional figure where no condition holds."""
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
    readings: list[SwitchingTables] = []
    for (level, up, holding), minterms in found.items():
        tables = [[g.rise if up else g.fall for g in conditions[text]] for text in holding]
        terms = tuple(tuple(table for table in term if table is not None) for term in tables)
        readings.append(SwitchingTables(p, level, up, tuple(minterms), terms))
    return readings
