"""Static timing of a MAC for every weight value in one pass.

The weight is held constant, so each value leaves other paths (`sta_case`). Delays come from NLDM tables (`nldm`), with
rise and fall, merged slews, and the load of the driven pins; there are no wires. The load of a net does not depend on
the weight, so every table is first reduced to a function of the input slew; then one compiled sweep over the gates in
topological order carries arrivals and slews of all weights side by side.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int16, Int32, UInt8

from haloquant.gates.liberty_records import Library
from haloquant.gates.netlist import Netlist, net_loads
from haloquant.gates.nldm import at_load, interpolate, look_up
from haloquant.gates.ports import weight_values
from haloquant.gates.sta_case import FREE, Case, CaseAnalysis
from haloquant.gates.sta_kernel import sweep
from haloquant.gates.sta_path import PathStep, WorstPath, worst_path
from haloquant.gates.sta_start import Conditions, captures, delay_tables, gate_analyses, initial_states, launches

__all__ = ["Conditions", "PathStep", "Timing", "WorstPath", "static_delays", "static_timing", "worst_path"]


@dataclass(frozen=True, eq=False, slots=True)
class Timing:
    """Arrivals of all nets. Edge 0 is rise, 1 is fall; an edge that never happens arrives at -inf."""

    weights: Int16[np.ndarray, " w"]
    state: UInt8[np.ndarray, "n w"]  # 0, 1 or 2 (free)
    arrival_s: Float64[np.ndarray, "n 2 w"]
    slew_s: Float64[np.ndarray, "n 2 w"]
    delay_s: Float64[np.ndarray, " w"]  # the longest path, setup included; 0 where nothing moves


def static_delays(
    netlist: Netlist,
    library: Library,
    weights: Int16[np.ndarray, " w"] | None = None,
    conditions: Conditions | None = None,
) -> Float64[np.ndarray, " w"]:
    """Longest path (s) for each weight value: from activation, partial sum or a register to a result or a register.

    Args:
        netlist: the MAC.
        library: cells at the corner to time at; may be another corner's than the netlist was read with.
        weights: the values to hold; all that the port can hold, ascending, where None.
        conditions: input slew, clock slew and output load; all zero where None.

    Raises:
        NetlistError: where a weight does not fit the port, or the library lacks a cell, pin, function or arc.
    """
    return static_timing(netlist, library, weights, conditions).delay_s


def static_timing(
    netlist: Netlist,
    library: Library,
    weights: Int16[np.ndarray, " w"] | None = None,
    conditions: Conditions | None = None,
) -> Timing:
    """Like `static_delays`, with every arrival, slew and constant."""
    weights = weight_values(netlist.ports) if weights is None else weights
    conditions = conditions or Conditions()
    loads = net_loads(netlist, library, conditions.output_load_f)
    analyses = gate_analyses(netlist, library)
    state, case, masks, enabled = _propagate(netlist, analyses, initial_states(netlist, weights))
    arrival, slew = _start(netlist, library, conditions, loads, len(weights))
    arcs = _arcs(netlist, analyses, loads)
    sweep(case, masks, masks if conditions.slews == "possible" else enabled, *arcs, arrival, slew)
    delay = _ends(netlist, library, conditions, state, arrival, slew)
    return Timing(weights, state, arrival, np.maximum(slew, 0.0), delay)


def _propagate(
    netlist: Netlist, analyses: dict[int, CaseAnalysis], state: UInt8[np.ndarray, "n w"]
) -> tuple[
    UInt8[np.ndarray, "n w"], Int32[np.ndarray, "g w"], UInt8[np.ndarray, "cases a"], UInt8[np.ndarray, "cases a"]
]:
    """Carry the constants through the gates.

    Returns:
        The state of every net; the number of each gate's case; of each case `Case.masks` and `Case.enabled`.
    """
    gates = netlist.gates
    case = np.zeros((len(gates), state.shape[1]), dtype=np.int32)
    numbers: dict[int, dict[int, int]] = {kind: {} for kind in analyses}
    cases: list[Case] = []
    for g in range(len(gates)):
        kind = int(gates.kind[g])
        analysis, known = analyses[kind], numbers[kind]
        inputs = gates.input_net[gates.input_start[g] : gates.input_start[g + 1]]
        nets = gates.output_net[gates.output_start[g] : gates.output_start[g + 1]]
        power = 3 ** np.arange(len(inputs))
        codes, which = np.unique(power @ state[inputs], return_inverse=True)
        for code in codes.tolist():
            if code not in known:
                known[code] = len(cases)
                cases.append(analysis.case([code // 3**i % 3 for i in range(len(inputs))]))
        own = np.array([known[code] for code in codes.tolist()], dtype=np.int32)
        case[g] = own[which]
        for j, net in enumerate(nets):
            if net >= 0:
                state[net] = np.array([cases[c].outputs[j] for c in own], dtype=np.uint8)[which]
    return state, case, _rows([c.masks for c in cases]), _rows([c.enabled for c in cases])


def _rows(masks: list[tuple[int, ...]]) -> UInt8[np.ndarray, "cases a"]:
    """Tuples of different lengths as the rows of one array, never empty."""
    table = np.zeros((len(masks) + 1, max((len(m) for m in masks), default=0) + 1), dtype=np.uint8)
    for row, mask in zip(table, masks, strict=False):
        row[: len(mask)] = mask
    return table


def _start(
    netlist: Netlist, library: Library, conditions: Conditions, loads: tuple[Float64[np.ndarray, " n"], ...], width: int
) -> tuple[Float64[np.ndarray, "n 2 w"], Float64[np.ndarray, "n 2 w"]]:
    """Arrivals and slews before the sweep: ports at 0, register outputs after their clock-to-output delay."""
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
    return arrival, slew


def _arcs(
    netlist: Netlist, analyses: dict[int, CaseAnalysis], loads: tuple[Float64[np.ndarray, " n"], ...]
) -> tuple[
    Int32[np.ndarray, " g1"],
    Int32[np.ndarray, " arcs"],
    Int32[np.ndarray, " arcs"],
    Int32[np.ndarray, "arcs 2 2 3"],
    Float64[np.ndarray, " pool"],
]:
    """Every arc of every gate, its tables reduced to the load of the net it drives.

    Returns:
        Where each gate's arcs start; the net each arc comes from and drives (-1: open); for each arc, output edge and
        (delay, slew) where its axis and values stand in the pool and how many they are (0: no table); the pool.
    """
    gates = netlist.gates
    count = np.array([len(analyses[k].arcs) for k in gates.kind.tolist()], dtype=np.int32)
    start = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    from_net, to_net = np.full(start[-1], -1, np.int32), np.full(start[-1], -1, np.int32)
    where = np.zeros((start[-1], 2, 2, 3), dtype=np.int32)
    pool: list[Float64[np.ndarray, " n"]] = []
    size = 0
    for k, analysis in analyses.items():
        members = np.flatnonzero(gates.kind == k)
        for a, arc in enumerate(analysis.arcs):
            place = start[members] + a
            from_net[place] = gates.input_net[gates.input_start[members] + analysis.kind.inputs.index(arc.related)]
            to = gates.output_net[gates.output_start[members] + analysis.kind.outputs.index(arc.pin)]
            to_net[place] = to
            for edge in (0, 1):
                for which, table in enumerate(delay_tables(arc, edge)):
                    if table is not None:
                        values = at_load(table, loads[edge][to])
                        n = len(table.rows)
                        where[place, edge, which, 0] = size
                        where[place, edge, which, 1] = size + n + n * np.arange(len(members))
                        where[place, edge, which, 2] = n
                        pool += [table.rows, values.ravel()]
                        size += n + values.size
    return start, from_net, to_net, where, np.concatenate([np.zeros(0), *pool])


def _ends(
    netlist: Netlist,
    library: Library,
    conditions: Conditions,
    state: UInt8[np.ndarray, "n w"],
    arrival: Float64[np.ndarray, "n 2 w"],
    slew: Float64[np.ndarray, "n 2 w"],
) -> Float64[np.ndarray, " w"]:
    """The latest arrival at a result, or at a register input plus its setup time."""
    moving = np.where((state == FREE)[:, None, :], arrival, -np.inf)
    worst = moving[netlist.result_net].max(axis=(0, 1), initial=-np.inf)
    for capture in captures(netlist, library):
        for edge in (0, 1):
            at = moving[capture.net, edge]
            table = None if capture.setup is None else (capture.setup.rise, capture.setup.fall)[edge]
            if table is not None:
                clock = np.full_like(at, conditions.clock_slew_s)
                at = at + interpolate(table, clock, np.maximum(slew[capture.net, edge], 0.0))
            worst = np.maximum(worst, at)
    return np.maximum(worst, 0.0)
