"""Leakage power of a MAC for every weight value, from the leakage of each gate's states.

`engine` computes the dynamic energy; `switching_arcs` reads its tables.
"""

import numpy as np
from jaxtyping import Float64, Int16

from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist, library_cells
from haloquant.circuits.ports import weight_pins
from haloquant.circuits.simulation.switching_arcs import leakage_table, truth_table


def leakage_w(netlist: Netlist, library: Library, weights: Int16[np.ndarray, " w"]) -> Float64[np.ndarray, " w"]:
    """Return the leakage power (W) for each weight value, the mean over all activation values.

    The leakage of a gate is the library's `leakage_power` for the state of its inputs; of a register, its
    `cell_leakage_power`. The partial sum and the register outputs are taken as 0, because their data are unknown here.

    Args:
        netlist: the gates.
        library: gives the leakage of each state.
        weights: the weight values.
    """
    cells = library_cells(netlist, library)
    bits = netlist.ports.activation_bits
    states = 1 << bits
    level = np.zeros((netlist.nets, len(weights), states), np.uint8)
    level[1] = 1
    level[netlist.tied_net] = netlist.tied_value[:, None, None]
    level[netlist.weight_net] = weight_pins(netlist.ports, weights).T[:, :, None]
    level[netlist.activation_net] = (np.arange(states) >> np.arange(bits)[:, None] & 1)[:, None, :]
    total = np.zeros(len(weights))
    known = {
        k: (leakage_table(cell), [truth_table(cell, p.name) for p in cell.outputs])
        for k, cell in enumerate(cells)
        if cell.register is None
    }
    gates = netlist.gates
    for g in range(len(gates)):
        leakage, functions = known[int(gates.kind[g])]
        minterm = np.zeros(level.shape[1:], np.intp)
        for p, net in enumerate(gates.input_net[gates.input_start[g] : gates.input_start[g + 1]]):
            minterm |= level[net].astype(np.intp) << p
        total += leakage[minterm].mean(axis=1)
        for net, function in zip(
            gates.output_net[gates.output_start[g] : gates.output_start[g + 1]], functions, strict=True
        ):
            if net >= 0:
                level[net] = function[minterm]
    return total + sum(cells[k].leakage_w for k in netlist.registers.kind)
