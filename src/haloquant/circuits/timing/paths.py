"""The longest path under one weight value, gate by gate, with every table look-up."""

from dataclasses import dataclass

from haloquant.circuits.liberty.nldm import Lookup, Table
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist
from haloquant.circuits.timing.case_analysis import EDGES
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.endpoints import delay_tables
from haloquant.circuits.timing.single_value import ArrivalStep, path_ends, time_single_value
from haloquant.errors import NetlistError


@dataclass(frozen=True, slots=True)
class TableReading:
    """One look-up: the grid cell it fell into, the values at its corners, and what comes out."""

    lookup: Lookup
    rows: tuple[float, float]  # slews (s) at the corners; equal where the table has one row
    columns: tuple[float, float]  # loads (F), or data slews (s) of a setup table


@dataclass(frozen=True, slots=True)
class PathStep:
    """One gate of a path: an edge at `from_pin` makes an edge at `to_pin`, which drives net `net`."""

    gate: str
    cell: str
    from_pin: str
    to_pin: str
    from_edge: str  # "rise" or "fall"
    to_edge: str
    when: str  # the arc's condition, "" where it has none
    net: str
    input_slew_s: float  # largest slew on the net before, of that edge
    load_f: float
    delay: TableReading
    transition: TableReading
    arrival_s: float  # after this gate


@dataclass(frozen=True, slots=True)
class WorstPath:
    """The longest path while the MAC holds `weight`. `steps` is empty where the path is a wire or nothing moves."""

    netlist: str
    library: str
    weight: int
    start: str  # a port bit, or a register's clock pin
    start_edge: str
    steps: tuple[PathStep, ...]
    end: str
    setup: TableReading | None  # at a register: rows are clock slews, columns data slews
    delay_s: float  # arrival at the end plus setup


def worst_path(netlist: Netlist, library: Library, weight: int, conditions: Conditions | None = None) -> WorstPath:
    """Trace the longest path under one weight value.

    Args:
        netlist: the MAC.
        library: cells at the corner to time at.
        weight: the value on the weight pins.
        conditions: as for `static_delays`.

    Returns:
        The path; its `delay_s` is what `static_delays` gives for this weight.

    Raises:
        NetlistError: where the weight does not fit the port, the library lacks something, or nothing moves at all
            (a multiplier that holds 0).
    """
    conditions = conditions or Conditions()
    one = time_single_value(netlist, library, weight, conditions)
    ends = path_ends(netlist, library, one, conditions)
    if not ends:
        raise NetlistError(f"no path to explain: with weight {weight} nothing in {netlist.name} moves")
    end = ends[0]
    steps: list[PathStep] = []
    step = end.step
    while step.arc is not None:
        steps.append(_step(netlist, step))
        before = one.steps.get((step.from_net, step.from_edge))
        step = (
            ArrivalStep(step.from_net, step.from_edge, 0.0) if before is None else before
        )  # a register's clock has no step
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
        raise NetlistError(f"gate {step.gate} must have been timed to be explained")  # ours: steps with arcs have these
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
