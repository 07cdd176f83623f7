"""Static timing of a MAC for all weight values at once.

The weight is constant, so each value leaves different paths (`case_analysis`). Delays come from NLDM tables,
for rise and fall, with merged slews and the load of the driven pins; there are no wires. One compiled pass over the
gates in topological order propagates the constants of all weights, a second one propagates arrivals and slews. The load
of a net does not depend on the weight, so each table is reduced to a function of the input slew once per gate.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16, Int32, UInt8

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.liberty.table_interpolation import interpolate, look_up
from haloquant.circuits.netlist.parser import Netlist, net_loads
from haloquant.circuits.ports import weight_values
from haloquant.circuits.timing.case_analysis import FREE, CaseAnalysis, Cases
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.endpoints import captures, delay_tables, gate_analyses, initial_states, launches
from haloquant.circuits.timing.propagation import propagate_arrivals, propagate_constants


@dataclass(frozen=True, eq=False, slots=True)
class Timing:
    """Arrivals and slews of all nets. Edge 0 is rise, 1 is fall. An edge that cannot happen has the arrival -inf."""

    weights: Int16[np.ndarray, "w *products"]
    state: UInt8[np.ndarray, "n w"]  # 0, 1 or 2 (free)
    arrival_s: Float64[np.ndarray, "n 2 w"]
    slew_s: Float64[np.ndarray, "n 2 w"]
    delay_s: Float64[np.ndarray, " w"]  # longest path, setup included; 0 if no end can change


def static_delays(
    netlist: Netlist,
    library: Library,
    weights: Int16[np.ndarray, " w"] | None = None,
    conditions: Conditions | None = None,
) -> Float64[np.ndarray, " w"]:
    """Return the delay (s) of the longest path for each weight value.

    Paths lead from the activation, the partial sum or a register to a result or a register. In a dot-product element
    the longest path depends on the weights of all products. There, and in a floating-point element, every value gets
    the delay of the longest path that any weights leave.

    Args:
        netlist: the MAC.
        library: cells at the corner to time; it may be another corner than the one that the netlist was read with.
        weights: the weight values; if None, all that the port can hold, ascending.
        conditions: boundary conditions; all zero if None.

    Raises:
        NetlistError: If a weight does not fit the port, or the library lacks a cell, pin, function or arc.
    """
    if netlist.ports.multiples or netlist.ports.floating:
        weights = weight_values(netlist.ports) if weights is None else weights
        longest = analyze_timing(netlist, library, weights[:1], conditions, any_weight=True).delay_s
        return np.repeat(longest, len(weights))
    return analyze_timing(netlist, library, weights, conditions).delay_s


def analyze_timing(
    netlist: Netlist,
    library: Library,
    weights: Int16[np.ndarray, "w *products"] | None = None,
    conditions: Conditions | None = None,
    any_weight: bool = False,
) -> Timing:
    """Return every arrival, slew and constant besides the delays; arguments and errors as in `static_delays`.

    With `any_weight`, the weight pins are constant but unknown, so every path that some weights leave counts.
    """
    weights = weight_values(netlist.ports) if weights is None else weights
    conditions = conditions or Conditions()
    gates = netlist.gates
    wiring = (gates.kind, gates.input_start, gates.input_net, gates.output_start, gates.output_net)
    load = np.stack(net_loads(netlist, library, conditions.output_load_f))
    analyses = gate_analyses(netlist, library)
    state = initial_states(netlist, weights, any_weight)
    code = np.empty((len(gates), len(weights)), dtype=np.int32)
    propagate_constants(*wiring, *_truth_tables(netlist, analyses), state, code)
    case, masks, enabled = _number_cases(netlist, analyses, code)
    arrival, slew = _start_points(netlist, library, conditions, load, len(weights))
    counted = masks if conditions.slews == "possible" else enabled
    propagate_arrivals(*wiring, *_arc_tables(netlist, analyses), load, case, masks, counted, arrival, slew)
    delay = _end_delays(netlist, library, conditions, state, arrival, slew)
    return Timing(weights, state, arrival, slew, delay)


def _truth_tables(
    netlist: Netlist, analyses: dict[int, CaseAnalysis]
) -> tuple[Int32[np.ndarray, "kinds outputs"], UInt8[np.ndarray, " pool"]]:
    """Return the offset of each truth table, by cell type and output, and one array with all truth tables."""
    at = np.zeros((len(netlist.kinds), max((len(k.outputs) for k in netlist.kinds), default=0)), dtype=np.int32)
    pool = [np.zeros(1, dtype=np.uint8)]
    size = 1
    for k, analysis in analyses.items():
        for j, name in enumerate(analysis.kind.outputs):
            at[k, j] = size
            pool.append(analysis.tables[name])
            size += len(pool[-1])
    return at, np.concatenate(pool)


def _number_cases(
    netlist: Netlist, analyses: dict[int, CaseAnalysis], code: Int32[np.ndarray, "g w"]
) -> tuple[Int32[np.ndarray, "g w"], UInt8[np.ndarray, "cases arcs"], UInt8[np.ndarray, "cases arcs"]]:
    """Number the cases that occur, one cell type after the other.

    Returns:
        The case number of each gate and weight; `Case.masks` and `Case.enabled` of each case number.
    """
    widest = max((len(analysis.arcs) for analysis in analyses.values()), default=0)
    case = np.zeros_like(code)
    blocks: list[Cases] = []
    count = 1  # case 0 means 'not computed'; real cases start at 1
    for k, analysis in analyses.items():
        members = np.flatnonzero(netlist.gates.kind == k)
        own = code[members]
        number = np.zeros(3 ** len(analysis.kind.inputs), dtype=np.int32)
        number[own] = 1
        codes = np.flatnonzero(number)
        number[codes] = count + np.arange(len(codes))
        case[members] = number[own]
        blocks.append(analysis.cases(codes))
        count += len(codes)
    masks = np.zeros((count, widest), dtype=np.uint8)
    enabled = np.zeros_like(masks)
    at = 1
    for block in blocks:
        rows, arcs = block.masks.shape
        masks[at : at + rows, :arcs] = block.masks
        enabled[at : at + rows, :arcs] = block.enabled
        at += rows
    return case, masks, enabled


def _start_points(
    netlist: Netlist, library: Library, conditions: Conditions, loads: Float64[np.ndarray, "2 n"], width: int
) -> tuple[Float64[np.ndarray, "n 2 w"], Float64[np.ndarray, "n 2 w"]]:
    """Return the arrivals and slews at the start points: ports at 0, register outputs at their clock-to-output delay.

    A registered partial sum arrives as the result does.
    """
    arrival = np.full((netlist.nets, 2, width), -np.inf)
    slew = np.zeros_like(arrival)
    for nets in (netlist.activation_net, netlist.partial_net):
        arrival[nets] = 0.0
        slew[nets] = conditions.input_slew_s
    for launch in launches(netlist, library):
        for edge in (0, 1):
            delay, transition = delay_tables(launch.arc, edge)
            if delay is not None and transition is not None:
                load = float(loads[edge][launch.net])
                at, out = arrival[launch.net, edge], slew[launch.net, edge]
                np.maximum(at, look_up(delay, conditions.clock_slew_s, load).value, out=at)
                np.maximum(out, look_up(transition, conditions.clock_slew_s, load).value, out=out)
    if netlist.ports.partial_registered:  # by the same registers of the element before
        arrival[netlist.partial_net] = np.maximum(arrival[netlist.result_net], 0.0)
        slew[netlist.partial_net] = np.maximum(slew[netlist.result_net], conditions.input_slew_s)
    return arrival, slew


def _arc_tables(
    netlist: Netlist, analyses: dict[int, CaseAnalysis]
) -> tuple[
    Int32[np.ndarray, " kinds1"],
    Int32[np.ndarray, " arcs"],
    Int32[np.ndarray, " arcs"],
    Int32[np.ndarray, "arcs 2 2 5"],
    Float64[np.ndarray, " pool"],
]:
    """Return the arcs of every cell type and their tables, in the form of `propagation.propagate_arrivals`."""
    count = np.zeros(len(netlist.kinds) + 1, dtype=np.int32)
    for k, analysis in analyses.items():
        count[k + 1] = len(analysis.arcs)
    start = np.cumsum(count, dtype=np.int32)
    ordered = [analysis for _, analysis in sorted(analyses.items())]
    inputs = np.array([i for analysis in ordered for i in analysis.arc_input], dtype=np.int32)
    outputs = np.array([j for analysis in ordered for j in analysis.arc_output], dtype=np.int32)
    tables = np.zeros((len(inputs), 2, 2, 5), dtype=np.int32)
    pool: list[Float64[np.ndarray, " n"]] = []
    known: dict[int, int] = {}  # id of an array that `library` keeps alive -> its offset in the pool
    size = 0

    def place(array: Float64[np.ndarray, "..."]) -> int:
        nonlocal size
        if id(array) not in known:
            known[id(array)] = size
            pool.append(array.ravel())
            size += array.size
        return known[id(array)]

    arcs = [arc for analysis in ordered for arc in analysis.arcs]
    for a, arc in enumerate(arcs):
        for edge in (0, 1):
            for which, table in enumerate(delay_tables(arc, edge)):
                if table is not None:
                    rows, columns, values = table.rows, table.columns, table.values
                    tables[a, edge, which] = (place(rows), place(columns), place(values), len(rows), len(columns))
    return start, inputs, outputs, tables, np.concatenate([np.zeros(0), *pool])


def _end_delays(
    netlist: Netlist,
    library: Library,
    conditions: Conditions,
    state: UInt8[np.ndarray, "n w"],
    arrival: Float64[np.ndarray, "n 2 w"],
    slew: Float64[np.ndarray, "n 2 w"],
) -> Float64[np.ndarray, " w"]:
    """Return the latest arrival at a result, or at a register input plus its setup time, for each weight; at least
    0.
    """
    at_result = np.where((state[netlist.result_net] == FREE)[:, None, :], arrival[netlist.result_net], -np.inf)
    worst = at_result.max(axis=(0, 1), initial=-np.inf)
    for capture in captures(netlist, library):
        for edge in (0, 1):
            at = np.where(state[capture.net] == FREE, arrival[capture.net, edge], -np.inf)
            table = None if capture.setup is None else (capture.setup.rise, capture.setup.fall)[edge]
            if table is not None:
                clock = np.full_like(at, conditions.clock_slew_s)
                at = at + interpolate(table, clock, np.maximum(slew[capture.net, edge], 0.0))
            worst = np.maximum(worst, at)
    return np.maximum(worst, 0.0)
