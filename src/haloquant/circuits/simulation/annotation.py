"""Annotates the gates of a netlist with delays and energies from the library, for every weight value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int32

from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.liberty.table_interpolation import interpolate
from haloquant.circuits.netlist.parser import Netlist, library_cells
from haloquant.circuits.simulation.registers import (
    clock_energy_j,
    data_pins,
    data_slots,
    register_slots,
    register_truth,
)
from haloquant.circuits.simulation.switching_arcs import (
    CellSwitchingTables,
    Slews,
    cell_switching_tables,
    read_gate_tables,
)
from haloquant.circuits.simulation.timed_gates import MAX_PINS, TimedGates
from haloquant.circuits.timing.conditions import Conditions
from haloquant.circuits.timing.endpoints import captures
from haloquant.errors import NetlistError
from haloquant.units import FEMTO


@dataclass(frozen=True, eq=False, slots=True)
class StaticPass:
    """Results of static timing at which the tables are read. Pairs are (fall, rise): the index is the level after."""

    levels: Bool[np.ndarray, "w weight"]  # of every weight pin, for each weight value
    slew_s: tuple[Float64[np.ndarray, "w n"], Float64[np.ndarray, "w n"]]  # of every net in static timing
    load_f: tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]  # of every net
    conditions: Conditions

    @property
    def weights(self) -> int:
        """The number of weight values."""
        return self.levels.shape[0]


@dataclass(frozen=True, eq=False, slots=True)
class _Gate:
    """One output of one instance, with its tables for each weight value."""

    name: str
    inputs: list[int]
    output: int
    truth: Sequence[int]
    delay_fs: Int32[np.ndarray, "w pin m"]
    internal_j: Float64[np.ndarray, "w pin m"]
    hidden_j: Float64[np.ndarray, "w pin m"]
    register: bool = False


def annotate_gates(netlist: Netlist, library: Library, static_pass: StaticPass) -> TimedGates:
    """Return the gates with their delays and energies for every weight value.

    A cell with several outputs becomes one gate for each output. The first of them has the energy of the input edges.

    Raises:
        NetlistError: If a gate has more than six inputs, or a register feeds itself.
        LibertyError: If a cell has no arc from a pin that its output depends on.
    """
    cells = library_cells(netlist, library)
    gates = _combinational(netlist, cells, static_pass)
    gates += _registers(netlist, cells, static_pass, netlist.nets + sum(gate.output >= netlist.nets for gate in gates))
    gates = _sorted(gates, netlist)
    half = 0.5 * library.corner.voltage_v**2
    switching = np.zeros(1 + max([netlist.nets - 1, *(gate.output for gate in gates)]))
    switching[: netlist.nets] = half * 0.5 * (static_pass.load_f[0] + static_pass.load_f[1])
    constants = np.concatenate([[0, 1], netlist.weight_net, netlist.tied_net]).astype(np.int32)
    fixed = np.tile(np.concatenate([[0, 1], netlist.tied_value]).astype(bool), (static_pass.weights, 1))
    sizes = [gate.delay_fs[0].size for gate in gates]
    end, setup = _ends(netlist, library, static_pass)

    return TimedGates(
        names=tuple(gate.name for gate in gates),
        pins=_array([len(gate.inputs) for gate in gates]),
        inputs=np.array([[*gate.inputs, *[-1] * (MAX_PINS - len(gate.inputs))] for gate in gates], np.int32),
        output=_array([gate.output for gate in gates]),
        truth=np.array([sum(bit << m for m, bit in enumerate(gate.truth)) for gate in gates], np.uint64),
        slot=_array(np.cumsum([0, *sizes[:-1]]).tolist()),
        delay_fs=_side_by_side([gate.delay_fs for gate in gates]),
        internal_j=_side_by_side([gate.internal_j for gate in gates]),
        hidden_j=_side_by_side([gate.hidden_j for gate in gates]),
        switching_j=switching,
        activation=netlist.activation_net,
        partial=netlist.partial_net,
        constant=constants,
        level=np.concatenate([fixed[:, :2], static_pass.levels, fixed[:, 2:]], axis=1),
        result=netlist.result_net,
        register=np.array([gate.register for gate in gates], bool),
        end=end,
        setup_fs=setup,
        clock_j=float(
            sum(clock_energy_j(cells[k], static_pass.conditions.clock_slew_s) for k in netlist.registers.kind)
        ),
    )


def _side_by_side(tables: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([table.reshape(table.shape[0], -1) for table in tables], axis=1)


def _combinational(netlist: Netlist, cells: Sequence[Cell], static_pass: StaticPass) -> list[_Gate]:
    found: list[_Gate] = []
    known: dict[tuple[str, str], CellSwitchingTables] = {}
    instances, spare = netlist.gates, netlist.nets
    for g, name in enumerate(instances.names):
        cell = cells[instances.kind[g]]
        inputs = instances.input_net[instances.input_start[g] : instances.input_start[g + 1]].tolist()
        outputs = instances.output_net[instances.output_start[g] : instances.output_start[g + 1]].tolist()
        if len(inputs) > MAX_PINS:
            raise NetlistError(f"gate {name} must have at most {MAX_PINS} inputs, not {len(inputs)} ({cell.name})")
        slews = _slews(static_pass, inputs)
        for position, (net, pin) in enumerate(zip(outputs, cell.outputs, strict=True)):
            key = (cell.name, pin.name)
            if key not in known:
                known[key] = cell_switching_tables(cell, pin.name)
            tables, load, size = known[key], _load(static_pass, net), len(inputs)
            delay = read_gate_tables(tables.delay, size, slews, load, static_pass.weights, np.max)
            internal = read_gate_tables(tables.internal, size, slews, load, static_pass.weights, np.mean)
            own = tables.hidden if position == 0 else ()
            hidden = read_gate_tables(own, size, slews, (0.0, 0.0), static_pass.weights, np.mean)
            whole = np.maximum(np.rint(delay / FEMTO), 1).astype(np.int32)
            output = net if net >= 0 else spare
            found.append(_Gate(f"{name}/{pin.name}", inputs, output, tables.truth, whole, internal, hidden))
            spare += net < 0
    return found


def _registers(netlist: Netlist, cells: Sequence[Cell], static_pass: StaticPass, spare: int) -> list[_Gate]:
    found: list[_Gate] = []
    instances = netlist.registers
    for i, name in enumerate(instances.names):
        kind, cell = netlist.kinds[instances.kind[i]], cells[instances.kind[i]]
        nets = dict(zip(kind.inputs, instances.input_net[instances.input_start[i] :].tolist(), strict=False))
        inputs = [nets[pin] for pin in data_pins(cell)]
        hidden = data_slots(cell, _slews(static_pass, inputs), static_pass.weights)
        outputs = instances.output_net[instances.output_start[i] : instances.output_start[i + 1]].tolist()
        for net, pin in zip(outputs, kind.outputs, strict=True):
            truth = register_truth(cell, pin)
            clock_slew_s = static_pass.conditions.clock_slew_s
            delay, internal = register_slots(cell, pin, clock_slew_s, _load(static_pass, net), static_pass.weights)
            output = net if net >= 0 else spare
            found.append(_Gate(f"{name}/{pin}", inputs, output, truth, delay, internal, hidden, register=True))
            spare += net < 0
            hidden = np.zeros_like(hidden)
    return found


def _slews(static_pass: StaticPass, inputs: list[int]) -> Slews:
    return lambda pin, level: static_pass.slew_s[level][:, inputs[pin]]


def _load(static_pass: StaticPass, net: int) -> tuple[float, float]:
    return (float(static_pass.load_f[0][net]), float(static_pass.load_f[1][net])) if net >= 0 else (0.0, 0.0)


def _sorted(gates: list[_Gate], netlist: Netlist) -> list[_Gate]:
    """Return gates and registers in topological order; the given order is kept where possible."""
    known = {*range(2), *netlist.weight_net.tolist(), *netlist.tied_net.tolist()}
    known |= {*netlist.activation_net.tolist(), *netlist.partial_net.tolist()}
    waiting, done = gates, list[_Gate]()
    while waiting:
        later: list[_Gate] = []
        for gate in waiting:
            if known.issuperset(gate.inputs):
                known.add(gate.output)
                done.append(gate)
            else:
                later.append(gate)
        if len(later) == len(waiting):
            raise NetlistError(
                f"a MAC to be simulated must have no register that feeds itself, but {later[0].name} waits for its own "
                "result; give the partial sum a port, or take delays alone (--static-only)"
            )
        waiting = later
    return done


def _ends(
    netlist: Netlist, library: Library, static_pass: StaticPass
) -> tuple[Int32[np.ndarray, " e"], Int32[np.ndarray, "w e 2"]]:
    """Return the nets at which paths end, and the setup time (fs) of each after an edge to level 0 or 1."""
    nets = netlist.result_net.tolist()
    setup = [np.zeros((static_pass.weights, 2))] * len(nets)
    for capture in captures(netlist, library):
        needed = np.zeros((static_pass.weights, 2))
        for level in (0, 1):
            check = capture.setup
            table = None if check is None else (check.fall, check.rise)[level]
            if table is not None:
                data = static_pass.slew_s[level][:, capture.net]
                needed[:, level] = interpolate(table, np.full_like(data, static_pass.conditions.clock_slew_s), data)
        nets.append(capture.net)
        setup.append(needed)
    return _array(nets), np.rint(np.stack(setup, axis=1) / FEMTO).astype(np.int32)


def _array(values: list[int]) -> Int32[np.ndarray, " n"]:
    return np.array(values, np.int32)
