"""Static timing of one weight value in plain Python. `worst_path` traces the longest path back through its steps.

The arrival of an edge at a gate's output is the maximum over its arcs of (arrival of the input edge + delay from the
table at input slew and load). Its slew is the largest slew of these arcs. This is graph-based analysis, the default of
OpenSTA.
"""

from dataclasses import dataclass

import numpy as np

from haloquant.circuits.liberty.records import Library, TimingArc
from haloquant.circuits.liberty.table_interpolation import Lookup, Table, look_up
from haloquant.circuits.netlist.parser import Netlist, net_loads
from haloquant.circuits.timing.case_analysis import FREE, Case, edge_pair_bit
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.endpoints import Capture, captures, delay_tables, gate_analyses, initial_states, launches
from haloquant.errors import NetlistError


@dataclass(frozen=True, eq=False, slots=True)
class ArrivalStep:
    """The latest arrival of one edge at one net, and the arc that determines it; at an input port `arc` is None."""

    net: int
    edge: int  # 0 rise, 1 fall
    arrival_s: float
    gate: str = ""
    cell: str = ""
    arc: TimingArc | None = None
    from_net: int = -1
    from_edge: int = -1
    input_slew_s: float = 0.0
    load_f: float = 0.0
    delay: Lookup | None = None
    transition: Lookup | None = None


@dataclass(frozen=True, eq=False, slots=True)
class SingleValueTiming:
    """All arrivals and merged slews (s) for one weight value, by (net, edge)."""

    steps: dict[tuple[int, int], ArrivalStep]
    slew_s: dict[tuple[int, int], float]
    loads_f: tuple[list[float], list[float]]  # of each net when it rises, when it falls
    state: list[int]  # of each net: 0, 1 or FREE


@dataclass(frozen=True, eq=False, slots=True)
class PathEnd:
    """The end of a path: a result bit, or a register input with its setup time."""

    name: str
    step: ArrivalStep
    setup_s: float = 0.0
    setup: Lookup | None = None
    check: Table | None = None  # the table that gave `setup`

    @property
    def delay_s(self) -> float:
        """Arrival plus setup time."""
        return self.step.arrival_s + self.setup_s


def time_single_value(netlist: Netlist, library: Library, weight: int, conditions: Conditions) -> SingleValueTiming:
    """Return the arrivals and slews of every net while the weight is constant.

    Raises:
        NetlistError: If the weight does not fit the port, or the library lacks a cell, pin or arc.
    """
    state = [int(s) for s in initial_states(netlist, np.array([weight], dtype=np.int16))[:, 0]]
    rise, fall = net_loads(netlist, library, conditions.output_load_f)
    timing = SingleValueTiming({}, {}, (rise.tolist(), fall.tolist()), state)
    for net in (*netlist.activation_net.tolist(), *netlist.partial_net.tolist()):
        for edge in (0, 1):
            timing.steps[net, edge] = ArrivalStep(net, edge, 0.0)
            timing.slew_s[net, edge] = conditions.input_slew_s
    for launch in launches(netlist, library):
        clock = ArrivalStep(netlist.clock_net, 0 if launch.arc.kind == "rising_edge" else 1, 0.0)
        for edge in (0, 1):
            cell = netlist.kinds[netlist.registers.kind[netlist.registers.names.index(launch.name)]].name
            if delay_tables(launch.arc, edge) != (None, None):
                slew = conditions.clock_slew_s
                _keep_latest(
                    timing, _propagate_edge(timing, clock, slew, launch.arc, edge, launch.net, launch.name, cell)
                )
    if netlist.ports.partial_registered:  # by the same registers of the element before
        for net, own in zip(netlist.partial_net.tolist(), netlist.result_net.tolist(), strict=True):
            for edge in (0, 1):
                before = timing.steps.get((own, edge))
                timing.steps[net, edge] = ArrivalStep(net, edge, 0.0 if before is None else before.arrival_s)
                timing.slew_s[net, edge] = max(timing.slew_s.get((own, edge), 0.0), conditions.input_slew_s)
    analyses = gate_analyses(netlist, library)
    seen: dict[tuple[int, ...], Case] = {}
    gates = netlist.gates
    for g, name in enumerate(gates.names):
        analysis = analyses[int(gates.kind[g])]
        inputs = gates.input_net[gates.input_start[g] : gates.input_start[g + 1]].tolist()
        outputs = gates.output_net[gates.output_start[g] : gates.output_start[g + 1]].tolist()
        key = (int(gates.kind[g]), *[state[net] for net in inputs])
        case = seen[key] if key in seen else seen.setdefault(key, analysis.case(key[1:]))
        of = dict(zip([*analysis.kind.inputs, *analysis.kind.outputs], [*inputs, *outputs], strict=True))
        for net, value in zip(outputs, case.outputs, strict=True):
            state[net] = value
        counted = case.masks if conditions.slews == "possible" else case.enabled
        for arc, mask, slew_mask in zip(analysis.arcs, case.masks, counted, strict=True):
            for pair in ((0, 0), (0, 1), (1, 0), (1, 1)):
                before = timing.steps.get((of[arc.related], pair[0]))
                if before is not None and slew_mask & edge_pair_bit(*pair):
                    slew = timing.slew_s[of[arc.related], pair[0]]
                    step = _propagate_edge(timing, before, slew, arc, pair[1], of[arc.pin], name, analysis.kind.name)
                    if mask & edge_pair_bit(*pair):
                        _keep_latest(timing, step)
    return timing


def _propagate_edge(
    timing: SingleValueTiming,
    before: ArrivalStep,
    slew_s: float,
    arc: TimingArc,
    edge: int,
    net: int,
    gate: str,
    cell: str,
) -> ArrivalStep:
    """Propagate one edge through one arc, and keep its slew if it is the largest on the target net."""
    delay_table, slew_table = delay_tables(arc, edge)
    if delay_table is None or slew_table is None:
        raise NetlistError(f"cell {cell} must have delay and transition tables from {arc.related} to {arc.pin}")
    load = timing.loads_f[edge][net]
    delay, transition = look_up(delay_table, slew_s, load), look_up(slew_table, slew_s, load)
    timing.slew_s[net, edge] = max(timing.slew_s.get((net, edge), 0.0), transition.value)
    arrival = before.arrival_s + delay.value
    return ArrivalStep(net, edge, arrival, gate, cell, arc, before.net, before.edge, slew_s, load, delay, transition)


def _keep_latest(timing: SingleValueTiming, step: ArrivalStep) -> None:
    """Keep a step if it is the latest one of its net and edge."""
    key = (step.net, step.edge)
    if key not in timing.steps or step.arrival_s > timing.steps[key].arrival_s:
        timing.steps[key] = step


def path_ends(netlist: Netlist, library: Library, timing: SingleValueTiming, conditions: Conditions) -> list[PathEnd]:
    """Return every path end that a transition can reach, latest first."""
    ends: list[PathEnd] = []
    for i, net in enumerate(netlist.result_net.tolist()):
        for edge in (0, 1):
            step = timing.steps.get((net, edge))
            if step is not None and timing.state[net] == FREE:
                ends.append(PathEnd(f"{netlist.ports.result}[{i}]", step))
    for capture in captures(netlist, library):
        for edge in (0, 1):
            step = timing.steps.get((capture.net, edge))
            if step is not None and timing.state[capture.net] == FREE:
                ends.append(_captured(timing, capture, step, conditions))
    return sorted(ends, key=lambda end: -end.delay_s)


def _captured(timing: SingleValueTiming, capture: Capture, step: ArrivalStep, conditions: Conditions) -> PathEnd:
    table = None
    if capture.setup is not None:
        table = capture.setup.rise if step.edge == 0 else capture.setup.fall
    name = f"{capture.name}/{capture.pin}"
    if table is None:
        return PathEnd(name, step)
    setup = look_up(table, conditions.clock_slew_s, timing.slew_s[capture.net, step.edge])
    return PathEnd(name, step, setup.value, setup, table)
