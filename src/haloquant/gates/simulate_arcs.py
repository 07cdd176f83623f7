"""From library tables to the delay and energy of every way a gate can switch.

The tables are read at the slews and loads of the static pass for each weight value: a pin's slew is the worst that
static timing finds there with this weight held (its constants folded), not that of the event at hand. So a sensitised
delay is never above the static one, and may be a little pessimistic.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float64

from haloquant.errors import LibertyError
from haloquant.gates.liberty_function import Function, over_inputs
from haloquant.gates.liberty_records import Cell, InternalPower, TimingArc
from haloquant.gates.nldm import Table
from haloquant.units import FEMTO

Slews = Callable[[int, int], Float64[np.ndarray, " w"]]  # (pin, level after the edge) -> slew by weight, s


def truth_table(cell: Cell, output: str) -> Bool[np.ndarray, " m"]:
    """The output's value in every minterm of the cell's inputs (input i has level `m >> i & 1`)."""
    function = cell.pin(output).function
    if function is None:
        raise LibertyError(f"pin {output} of cell {cell.name} must have a function, but has none")
    return over_inputs(function, tuple(pin.name for pin in cell.inputs)).astype(bool)


def holds(cell: Cell, when: Function | None) -> Bool[np.ndarray, " m"]:
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


def read_table(table: Table, slew_s: Float64[np.ndarray, " w"], load_f: float) -> Float64[np.ndarray, " w"]:
    """Read a table at many slews and one load, bilinearly (`nldm.look_up` is the same for one slew)."""
    i, u = _segments(table.rows, slew_s)
    j, v = _segments(table.columns, np.array([load_f]))
    last = table.columns.size - 1
    column = (1 - v[0]) * table.values[:, j[0]] + v[0] * table.values[:, min(j[0] + 1, last)]
    return (1 - u) * column[i] + u * column[np.minimum(i + 1, table.rows.size - 1)]


def _read(table: Table | None, slew_s: Float64[np.ndarray, " w"], load_f: float) -> Float64[np.ndarray, " w"]:
    return np.zeros(slew_s.size) if table is None else read_table(table, slew_s, load_f)


def _segments(axis: Float64[np.ndarray, " n"], x: Float64[np.ndarray, " k"]):
    if axis.size == 1:
        return np.zeros(x.size, np.int64), np.zeros(x.size)
    i = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, axis.size - 2)
    return i, (x - axis[i]) / (axis[i + 1] - axis[i])


def delay_slots(cell: Cell, output: str, slews: Slews, load_f: tuple[float, float], weights: int):
    """Delay (fs, whole, at least 1) of the output edge that follows where a pin's change leads to a minterm.

    Of the arcs from the pin to this output edge those of a fitting `timing_sense` count, then those whose `when` holds
    in the minterm, then those that have a `when` at all; of several the slowest. A pin that changes together with
    others may fit no arc: then every arc to this edge counts.

    Args:
        cell: the gate's cell.
        output: its output pin.
        slews: of each pin and edge.
        load_f: that the output sees, falling and rising.
        weights: how many weights.

    Returns:
        int32 [w, pin, m].

    Raises:
        LibertyError: a pin that the output depends on and no arc comes from.
    """
    value = truth_table(cell, output)
    delay = np.full((weights, len(cell.inputs), value.size), 1, np.int32)
    minterms = np.arange(value.size)
    for p, pin in enumerate(cell.inputs):
        arcs = [
            a for a in cell.arcs if a.pin == output and a.related == pin.name and a.kind.startswith("combinational")
        ]
        where = [holds(cell, arc.when) for arc in arcs]
        read: dict[tuple[int, int, int], Float64[np.ndarray, " w"]] = {}
        after = minterms >> p & 1
        if np.array_equal(value, value[minterms ^ (1 << p)]):
            continue
        for m in minterms:
            chosen = _arcs_for(arcs, where, int(after[m]), int(value[m]), int(m))
            if not chosen:
                raise LibertyError(f"cell {cell.name} must have a timing arc from {pin.name} to {output}, but has none")
            slowest = np.full(weights, -np.inf)
            for a in chosen:
                spot = (a, int(after[m]), int(value[m]))
                if spot not in read:
                    table = arcs[a].cell_rise if value[m] else arcs[a].cell_fall
                    read[spot] = _read(table, slews(p, int(after[m])), load_f[int(value[m])])
                slowest = np.maximum(slowest, read[spot])
            delay[:, p, m] = np.maximum(np.rint(slowest / FEMTO), 1)
    return delay


def _arcs_for(arcs: Sequence[TimingArc], where: list[np.ndarray], after: int, value: int, m: int) -> list[int]:
    to_edge = [i for i, a in enumerate(arcs) if (a.cell_rise if value else a.cell_fall) is not None]
    same = "positive_unate" if after == value else "negative_unate"
    fitting = [i for i in to_edge if arcs[i].sense in (same, "non_unate")] or to_edge
    holding = [i for i in fitting if where[i][m]] or fitting
    return [i for i in holding if arcs[i].when is not None] or holding


def internal_slots(cell: Cell, output: str, slews: Slews, load_f: tuple[float, float], weights: int):
    """Internal energy (J) of an output edge, by the pin that caused it and the minterm it led to: float64 [w, pin, m].

    Groups under the same condition add up (a library may give one per supply pin). Where no condition of the pin
    holds, the mean over its conditions counts; a pin without groups costs nothing.
    """
    value = truth_table(cell, output)
    energy = np.zeros((weights, len(cell.inputs), value.size))
    for p, pin in enumerate(cell.inputs):
        groups = [g for g in cell.powers if g.pin == output and g.related == pin.name]
        _fill(cell, groups, p, value, slews, load_f, energy[:, p], fallback=True)
    return energy


def hidden_slots(cell: Cell, slews: Slews, weights: int):
    """Energy (J) of the edge of an input pin itself, by pin and the minterm it leads to: float64 [w, pin, m]."""
    energy = np.zeros((weights, len(cell.inputs), 1 << len(cell.inputs)))
    for p, pin in enumerate(cell.inputs):
        groups = [g for g in cell.powers if g.pin == pin.name and g.related is None]
        level = (np.arange(energy.shape[2]) >> p & 1).astype(bool)
        _fill(cell, groups, p, level, slews, (0.0, 0.0), energy[:, p], fallback=False)
    return energy


def _fill(
    cell: Cell, groups: list[InternalPower], p: int, edge, slews: Slews, load_f, energy, *, fallback: bool
) -> None:
    conditions: dict[str, list[InternalPower]] = {}
    for group in groups:
        conditions.setdefault(group.when.text if group.when else "", []).append(group)
    where = {text: holds(cell, members[0].when) for text, members in conditions.items()}
    read: dict[tuple[str, int, int], Float64[np.ndarray, " w"]] = {}

    def joules(text: str, after: int, up: int) -> Float64[np.ndarray, " w"]:
        if (text, after, up) not in read:
            total = np.zeros(energy.shape[0])
            for group in conditions[text]:
                table = group.rise if up else group.fall
                total += _read(table, slews(p, after), load_f[up])
            read[text, after, up] = total
        return read[text, after, up]

    for m in range(energy.shape[1]):
        holding = [text for text in conditions if text and where[text][m]] or [text for text in conditions if not text]
        if not holding and fallback:
            holding = list(conditions)
        if holding:
            terms = [joules(text, m >> p & 1, int(edge[m])) for text in holding]
            energy[:, m] = sum(terms) / len(terms)


def leakage_table(cell: Cell) -> Float64[np.ndarray, " m"]:
    """Leakage power (W) of a cell in every minterm of its inputs; the cell's own figure where no condition holds."""
    rows = 1 << len(cell.inputs)
    conditional = [entry for entry in cell.leakage if entry.when is not None]
    power = np.zeros(rows)
    known = np.zeros(rows, bool)
    for entry in conditional:
        where = holds(cell, entry.when)
        power[where] += entry.power_w
        known |= where
    return np.where(known, power, cell.leakage_w)
