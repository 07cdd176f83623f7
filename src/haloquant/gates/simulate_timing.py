"""A netlist and a library as the plain arrays that the simulation runs on."""

import numpy as np
from jaxtyping import Bool, Float64, Int32

from haloquant.errors import NetlistError
from haloquant.gates.liberty_records import Library
from haloquant.gates.netlist import Netlist, cells_of
from haloquant.gates.simulate_arcs import delay_slots, hidden_slots, internal_slots, truth_table
from haloquant.gates.simulate_program import MAX_PINS, TimedGates


def time_gates(
    netlist: Netlist,
    library: Library,
    levels: Bool[np.ndarray, "w weight"],
    slew_fall_s: Float64[np.ndarray, "w n"],
    slew_rise_s: Float64[np.ndarray, "w n"],
    load_fall_f: Float64[np.ndarray, " n"],
    load_rise_f: Float64[np.ndarray, " n"],
) -> TimedGates:
    """Put delays and energies on every gate, by weight value.

    A cell with several outputs becomes one gate for each, the energy of its input edges going with the first.

    Args:
        netlist: the gates; combinational.
        library: the cells.
        levels: level of every weight pin, by weight value.
        slew_fall_s: slew of every net's falling edge in the static pass, by weight value.
        slew_rise_s: of its rising edge.
        load_fall_f: capacitance that every net's driver sees when it falls.
        load_rise_f: when it rises.

    Raises:
        NetlistError: for a gate with more than six inputs, or a netlist with registers.
        LibertyError: for a cell without an arc where its output depends on a pin.
    """
    if len(netlist.registers):
        raise NetlistError(f"the netlist must be combinational, but {netlist.registers.names[0]} is a register")
    cells = cells_of(netlist, library)
    weights = levels.shape[0]
    slews = (slew_fall_s, slew_rise_s)
    names: list[str] = []
    pins: list[int] = []
    inputs: list[list[int]] = []
    outputs: list[int] = []
    truth: list[int] = []
    slot = [0]
    tables: list[tuple[np.ndarray, ...]] = []
    nets = netlist.nets
    gates = netlist.gates
    for g, name in enumerate(gates.names):
        cell = cells[gates.kind[g]]
        nets_in = gates.input_net[gates.input_start[g] : gates.input_start[g + 1]]
        nets_out = gates.output_net[gates.output_start[g] : gates.output_start[g + 1]]
        if nets_in.size > MAX_PINS:
            raise NetlistError(f"gate {name} must have at most {MAX_PINS} inputs, not {nets_in.size} ({cell.name})")

        def slew(pin: int, level: int, nets_in: np.ndarray = nets_in) -> Float64[np.ndarray, " w"]:
            return slews[level][:, nets_in[pin]]

        hidden = hidden_slots(cell, slew, weights)
        for net, pin in zip(nets_out, cell.outputs, strict=True):
            load = (float(load_fall_f[net]), float(load_rise_f[net])) if net >= 0 else (0.0, 0.0)
            names.append(f"{name}/{pin.name}")
            pins.append(nets_in.size)
            inputs.append([*nets_in, *[-1] * (MAX_PINS - nets_in.size)])
            outputs.append(int(net) if net >= 0 else nets)
            nets += net < 0
            truth.append(sum(int(bit) << m for m, bit in enumerate(truth_table(cell, pin.name))))
            slot.append(slot[-1] + (nets_in.size << nets_in.size))
            arcs = delay_slots(cell, pin.name, slew, load, weights)
            internal = internal_slots(cell, pin.name, slew, load, weights)
            tables.append(tuple(t.reshape(weights, -1) for t in (arcs, internal, hidden)))
            hidden = np.zeros_like(hidden)
    half = 0.5 * library.corner.voltage_v**2
    switching = np.zeros(nets)
    switching[: netlist.nets] = half * 0.5 * (load_fall_f + load_rise_f)
    constants = np.concatenate([[0, 1], netlist.weight_net, netlist.tied_net]).astype(np.int32)
    fixed = np.tile(np.concatenate([[0, 1], netlist.tied_value]).astype(bool), (weights, 1))
    return TimedGates(
        names=tuple(names),
        pins=_array(pins),
        inputs=np.array(inputs, np.int32).reshape(-1, MAX_PINS),
        output=_array(outputs),
        truth=np.array(truth, np.uint64),
        slot=_array(slot[:-1]),
        delay_fs=np.concatenate([t[0] for t in tables], axis=1),
        internal_j=np.concatenate([t[1] for t in tables], axis=1),
        hidden_j=np.concatenate([t[2] for t in tables], axis=1),
        switching_j=switching,
        activation=netlist.activation_net,
        partial=netlist.partial_net,
        constant=constants,
        level=np.concatenate([fixed[:, :2], levels, fixed[:, 2:]], axis=1),
        result=netlist.result_net,
    )


def _array(values: list[int]) -> Int32[np.ndarray, " n"]:
    return np.array(values, np.int32)
