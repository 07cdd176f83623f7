"""The longest path for one weight value, gate by gate, with every table look-up."""

from dataclasses import dataclass

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.liberty.table_interpolation import Lookup, Table
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.timing.case_analysis import EDGES
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.endpoints import delay_tables
from haloquant.circuits.timing.single_value import ArrivalStep, path_ends, time_single_value
from haloquant.errors import NetlistError


@dataclass(frozen=True, slots=True)
class TableReading:
    """One table look-up, and the axis values at the corners of its grid cell."""

    lookup: Lookup
    rows: tuple[float, float]  # slews (s) at the corners; equal if the table has one row
    columns: tuple[float, float]  # loads (F), or data slews (s) of a setup table


@dataclass(frozen=True, slots=True)
class PathStep:
    """One gate of a path: an edge at `from_pin` causes an edge at `to_pin`, which drives the net `net`."""

    gate: str
    cell: str
    from_pin: str
    to_pin: str
    from_edge: str  # "rise" or "fall"
    to_edge: str
    when: str  # the arc's condition; "" if it has none
    net: str
    input_slew_s: float  # the largest slew of that edge on the net at `from_pin`
    load_f: float
    delay: TableReading
    transition: TableReading
    arrival_s: float  # at `to_pin`


@dataclass(frozen=True, slots=True)
class WorstPath:
    """The longest path while the weight is constant. `steps` is empty if the path is a plain wire."""

    netlist: str
    library: str
    weight: int
    start: str  # an input bit, or the clock of a register
    start_edge: str
    steps: tuple[PathStep, ...]
    end: str
    setup: TableReading | None  # only at a register; rows are clock slews, columns data slews
    delay_s: float  # arrival at the end plus setup time


def worst_path(netlist: Netlist, library: Library, weight: int, conditions: Conditions | None = None) -> WorstPath:
    """Return the longest path for one weight value.

    Args:
        netlist: the MAC.
        library: cells at the corner to time at.
        weight: the value on the weight pins.
        conditions: boundary conditions; all zero if None.

    Returns:
        The path. Its `delay_s` equals the value of `static_delays` for this weight.

    Raises:
        NetlistError: If the weight does not fit the port, the library lacks a cell, pin or arc, or no output can change
            (e.g. a multiplier with weight 0).
    """
    conditions = conditions or Conditions()
    timing = time_single_value(netlist, library, weight, conditions)
    ends = path_ends(netlist, library, timing, conditions)
    if not ends:
        raise NetlistError(f"no path to explain: with weight {weight} nothing in {netlist.name} moves")
    end = ends[0]
    steps: list[PathStep] = []
    step = end.step
    while step.arc is not None:
        steps.append(_step(netlist, step))
        before = timing.steps.get((step.from_net, step.from_edge))
        if before is None:  # the clock of a register has no step
            before = ArrivalStep(step.from_net, step.from_edge, 0.0)
        step = before
    return WorstPath(
        netlist=netlist.name,
        library=library.name,
        weight=weight,
        start=netlist.net_names[step.net] if step.net >= 0 else "clock",
        start_edge=EDGES[step.edge],
        steps=tuple(reversed(steps)),
        end=end.name,
        setup=_reading(end.check, end.setup) if end.check and end.setup else None,
        delay_s=end.delay_s,
    )


def _step(netlist: Netlist, step: ArrivalStep) -> PathStep:
    arc = step.arc
    delay, transition = delay_tables(arc, step.edge) if arc else (None, None)
    if arc is None or delay is None or transition is None or step.delay is None or step.transition is None:
        # This cannot happen: every step with an arc has its tables and look-ups.
        raise NetlistError(f"gate {step.gate} must have been timed to be explained")
    return PathStep(
        gate=step.gate,
        cell=step.cell,
        from_pin=arc.related,
        to_pin=arc.pin,
        from_edge=EDGES[step.from_edge],
        to_edge=EDGES[step.edge],
        when=arc.when.text if arc.when else "",
        net=netlist.net_names[step.net],
        input_slew_s=step.input_slew_s,
        load_f=step.load_f,
        delay=_reading(delay, step.delay),
        transition=_reading(transition, step.transition),
        arrival_s=step.arrival_s,
    )


def _reading(table: Table, lookup: Lookup) -> TableReading:
    def bracket(axis: list[float], i: int) -> tuple[float, float]:
        return axis[i], axis[min(i + 1, len(axis) - 1)]

    return TableReading(
        lookup, bracket(table.rows.tolist(), lookup.row), bracket(table.columns.tolist(), lookup.column)
    )
