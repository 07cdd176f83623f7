"""`parse_netlist` reads a mapped MAC, as Yosys' `write_json` writes it, into levelised arrays.

Nets and gates are numbers. Nets 0 and 1 are the constants. Gates are in topological order, level by level, so one pass
over them computes all nets. A netlist refers to cells and pins by name only, so it can be timed and simulated with the
library of any corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from jaxtyping import Float64, Int32

from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.netlist.builder import CellKind, Gate, NetlistBuilder
from haloquant.circuits.netlist.levelization import levelise
from haloquant.circuits.netlist.yosys_json import read_module
from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError


@dataclass(frozen=True, eq=False, slots=True)
class Instances:
    """Gates or registers. Instance `i` has the input nets `input_net[input_start[i]:input_start[i + 1]]`.

    The nets are in the order of `CellKind.inputs`. The same holds for outputs. An open output has its own net.
    """

    names: tuple[str, ...]
    kind: Int32[np.ndarray, " g"]  # index into Netlist.kinds
    input_start: Int32[np.ndarray, " g1"]
    input_net: Int32[np.ndarray, " i"]
    output_start: Int32[np.ndarray, " g1"]
    output_net: Int32[np.ndarray, " o"]

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self.names)


@dataclass(frozen=True, eq=False, slots=True)
class Netlist:
    """One MAC. Bit 0 of a port is the least significant. `partial_net` is empty if the MAC adds no partial sum."""

    name: str
    ports: MacPorts
    kinds: tuple[CellKind, ...]
    net_names: tuple[str, ...]
    gates: Instances  # combinational, in topological order
    level_start: Int32[np.ndarray, " levels1"]  # level l has the gates level_start[l] .. level_start[l + 1] - 1
    registers: Instances
    weight_net: Int32[np.ndarray, " weight"]
    activation_net: Int32[np.ndarray, " activation"]
    partial_net: Int32[np.ndarray, " partial"]
    result_net: Int32[np.ndarray, " result"]
    clock_net: int  # -1 if there is no clock
    tied_net: Int32[np.ndarray, " tied"]
    tied_value: Int32[np.ndarray, " tied"]
    fanout_start: Int32[np.ndarray, " n1"]  # net n drives fanout_gate[fanout_start[n]:fanout_start[n + 1]]
    fanout_gate: Int32[np.ndarray, " f"]

    @property
    def nets(self) -> int:
        """Number of nets, the two constants included."""
        return len(self.net_names)


def parse_netlist(json_text: str, library: Library, ports: MacPorts) -> Netlist:
    """Read a mapped module from Yosys' JSON.

    Args:
        json_text: the output of `write_json`: one module, or several of which one is marked as top.
        library: gives the pins of the cells and which cells are registers.
        ports: names and widths of the module's ports.

    Raises:
        NetlistError: If the text is not such JSON, a port is missing or has another width, the library lacks a cell or
            pin, the module has a latch, a three-state driver or a combinational loop, or a net has no driver or two.
    """
    name, module = read_module(json_text)
    builder = NetlistBuilder(module, library)
    port = {role: builder.port(*wanted) for role, wanted in _roles(ports).items()}
    tied = [(net, value >> i & 1) for role, value in ports.tied for i, net in enumerate(builder.tied(role))]
    clock = builder.port(ports.clock, 1, "input")[0] if ports.clock else -1
    builder.check_inputs_declared(ports)
    unordered, registers = builder.instances()
    builder.check_drivers([net for gate in [*unordered, *registers] for net in gate.inputs] + port["result"])
    gates, level_start = levelise(unordered)
    fanout = sorted({(net, i) for i, gate in enumerate(gates) for net in gate.inputs})
    return Netlist(
        name=name,
        ports=ports,
        kinds=tuple(builder.kinds.values()),
        net_names=tuple(builder.names),
        gates=_pack(gates),
        level_start=_array(level_start),
        registers=_pack(registers),
        weight_net=_array(port["weight"]),
        activation_net=_array(port["activation"]),
        partial_net=_array(port.get("partial", [])),
        result_net=_array(port["result"]),
        clock_net=clock,
        tied_net=_array([net for net, _ in tied]),
        tied_value=_array([value for _, value in tied]),
        fanout_start=_starts([net for net, _ in fanout], len(builder.names)),
        fanout_gate=_array([i for _, i in fanout]),
    )


def net_loads(
    netlist: Netlist, library: Library, output_load_f: float = 0.0
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Return the load of each net when it rises and when it falls, in F: the pins it drives, without wires.

    Args:
        netlist: the gates.
        library: gives the rise and fall capacitances of the pins; it may be of another corner than the one that the
            netlist was read with.
        output_load_f: capacitance that is added to every result net.

    Raises:
        NetlistError: If the library lacks a cell or pin of the netlist.
    """
    loads = np.zeros((2, netlist.nets))
    cells = library_cells(netlist, library)
    for instances in (netlist.gates, netlist.registers):
        capacitance = [
            np.array([[cell.pin(p).rise_capacitance_f, cell.pin(p).fall_capacitance_f] for p in kind.inputs]).reshape(
                -1, 2
            )
            for kind, cell in zip(netlist.kinds, cells, strict=True)
        ]
        if len(instances):
            values = np.concatenate([capacitance[k] for k in instances.kind])
            np.add.at(loads[0], instances.input_net, values[:, 0])
            np.add.at(loads[1], instances.input_net, values[:, 1])
    loads[:, np.unique(netlist.result_net)] += output_load_f
    return loads[0], loads[1]


def library_cells(netlist: Netlist, library: Library) -> tuple[Cell, ...]:
    """Return the library's cell for each of `netlist.kinds`.

    Raises:
        NetlistError: If the library lacks a cell, or the cell lacks a pin.
    """
    cells = []
    for kind in netlist.kinds:
        cell = library.cells.get(kind.name)
        if cell is None:
            raise NetlistError(
                f"cell {kind.name} of netlist {netlist.name} must be in library {library.name}, but is not"
            )
        wanted = {*kind.inputs, *kind.outputs}
        if not wanted <= {pin.name for pin in cell.pins}:
            missing = sorted(wanted - {pin.name for pin in cell.pins})
            raise NetlistError(f"cell {kind.name} of library {library.name} must have pins {missing}, but lacks them")
        cells.append(cell)
    return tuple(cells)


def _roles(ports: MacPorts) -> dict[str, tuple[str, int, str]]:
    roles = {
        "weight": (ports.weight, ports.weight_width, "input"),
        "activation": (ports.activation, ports.activation_width, "input"),
        "result": (ports.result, ports.result_bits, "output"),
    }
    if ports.partial:
        roles["partial"] = (ports.partial, ports.result_bits, "input")
    return roles


def _pack(gates: Sequence[Gate]) -> Instances:
    return Instances(
        names=tuple(gate.name for gate in gates),
        kind=_array([gate.kind for gate in gates]),
        input_start=_array([0, *accumulate(len(gate.inputs) for gate in gates)]),
        input_net=_array([net for gate in gates for net in gate.inputs]),
        output_start=_array([0, *accumulate(len(gate.outputs) for gate in gates)]),
        output_net=_array([net for gate in gates for net in gate.outputs]),
    )


def _starts(sorted_keys: Sequence[int], count: int) -> Int32[np.ndarray, " n1"]:
    """Return the first index of each of the keys 0 .. count in an ascending list."""
    return np.searchsorted(np.array(sorted_keys, dtype=np.int32), np.arange(count + 1)).astype(np.int32)


def _array(values: Sequence[int]) -> Int32[np.ndarray, " n"]:
    return np.array(values, dtype=np.int32)
