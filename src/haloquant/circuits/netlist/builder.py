"""Number the nets and gates of a module, and refuse modules that cannot be timed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.netlist.yosys_json import Bit, Instance, Module
from haloquant.circuits.ports import MacPorts
from haloquant.errors import NetlistError


@dataclass(frozen=True, slots=True)
class CellKind:
    """A cell type of the netlist: its name, and its pins in the order that the arrays use."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Gate(NamedTuple):
    """One instance: the index of its cell type in `NetlistBuilder.kinds`, and the nets at its pins."""

    name: str
    kind: int
    inputs: list[int]
    outputs: list[int]


class NetlistBuilder:
    """Numbers the nets of one module and checks its ports and pins."""

    def __init__(self, module: Module, library: Library) -> None:
        self.module, self.library = module, library
        self.number: dict[int, int] = {}
        self.names = ["0", "1"]
        self.driver: dict[int, str] = {0: "constant", 1: "constant"}
        self.kinds: dict[str, CellKind] = {}
        self._labels = _labels(module)

    def net(self, bit: Bit, where: str) -> int:
        """Return the number of a net.

        Args:
            bit: the bit of Yosys: a number, or a text for a constant level or an open bit.
            where: the place of the bit, for the error message.

        Raises:
            NetlistError: The bit is open.
        """
        if isinstance(bit, str):
            if bit in ("0", "1"):
                return int(bit)
            raise NetlistError(f"{where} must be driven, but is left open ({bit!r})")
        if bit not in self.number:
            self.number[bit] = len(self.names)
            self.names.append(self._labels.get(bit, f"n{bit}"))
        return self.number[bit]

    def port(self, name: str, width: int, direction: str) -> list[int]:
        """Return the nets of a port, least significant first. The nets of an input are marked as driven.

        Raises:
            NetlistError: The module has no such port, it has another direction or width, a bit is open, or a net of an
                input has another driver.
        """
        port = self.module.ports.get(name)
        if port is None:
            has = ", ".join(sorted(self.module.ports)) or "none"
            raise NetlistError(f"the module must have a port {name!r}, but its ports are: {has}")
        if port.direction != direction:
            raise NetlistError(f"port {name!r} must be an {direction}, not an {port.direction}")
        if len(port.bits) != width:
            raise NetlistError(f"port {name!r} must have {width} bits, not {len(port.bits)}")
        nets = [self.net(bit, f"bit {i} of port {name!r}") for i, bit in enumerate(port.bits)]
        if direction == "input":
            for net in nets:
                self.add_driver(net, f"port {name}")
        return nets

    def tied(self, name: str) -> list[int]:
        """Return the nets of an input port of any width that is held constant.

        Raises:
            NetlistError: As `port`.
        """
        port = self.module.ports.get(name)
        return self.port(name, len(port.bits) if port else 1, "input")

    def check_inputs_declared(self, ports: MacPorts) -> None:
        """Refuse an input that `ports` does not declare, because its value would be unknown.

        Raises:
            NetlistError: There is such an input.
        """
        known = {ports.weight, ports.activation, ports.partial, ports.clock, *(name for name, _ in ports.tied)}
        for name, port in self.module.ports.items():
            if port.direction != "output" and name not in known:
                raise NetlistError(
                    f"input {name!r} of the module must be declared: as weight, activation, partial, clock or tied"
                )

    def add_driver(self, net: int, by: str) -> None:
        """Register the driver of a net.

        Raises:
            NetlistError: The net has a driver already.
        """
        if net in self.driver:
            raise NetlistError(f"net {self.names[net]} must have one driver, not both {self.driver[net]} and {by}")
        self.driver[net] = by

    def instances(self) -> tuple[list[Gate], list[Gate]]:
        """Return all combinational gates and all registers, with the nets at their pins.

        Raises:
            NetlistError: A cell is not in the library, is a latch, a clock gate or a three-state driver, or has an
                output without a function; or a pin is unknown, open or connected to several nets.
        """
        gates: list[Gate] = []
        registers: list[Gate] = []
        for name, instance in self.module.cells.items():
            if instance.type == "$scopeinfo":
                continue
            cell = self._cell(name, instance)
            (gates if cell.register is None else registers).append(self._connect(name, instance, cell))
        return gates, registers

    def _cell(self, name: str, instance: Instance) -> Cell:
        cell = self.library.cells.get(instance.type.removeprefix("\\"))
        if cell is None:
            raise NetlistError(
                f"gate {name} must be a cell of library {self.library.name}, not {instance.type!r}; "
                "map the design to this library first"
            )
        if cell.latch:
            raise NetlistError(f"the netlist must have no latch or clock gate, but {name} is a {cell.name}")
        if any(pin.three_state for pin in cell.outputs):
            raise NetlistError(f"the netlist must have no three-state driver, but {name} is a {cell.name}")
        for pin in cell.outputs:
            if pin.function is None and cell.register is None:
                raise NetlistError(
                    f"pin {pin.name} of cell {cell.name} (gate {name}) must have a function, but has none"
                )
        self.kinds.setdefault(
            cell.name,
            CellKind(cell.name, tuple(pin.name for pin in cell.inputs), tuple(pin.name for pin in cell.outputs)),
        )
        return cell

    def _connect(self, name: str, instance: Instance, cell: Cell) -> Gate:
        kind = self.kinds[cell.name]
        extra = set(instance.connections) - {pin.name for pin in cell.pins}
        if extra:
            raise NetlistError(f"gate {name} must use pins of cell {cell.name}, not {sorted(extra)}")
        inputs: list[int] = []
        for pin in kind.inputs:
            where = f"pin {pin} of gate {name} ({cell.name})"
            bits = instance.connections.get(pin, [])
            if len(bits) != 1:
                raise NetlistError(f"{where} must be connected to one net, not {len(bits)}")
            inputs.append(self.net(bits[0], where))
        outputs: list[int] = []
        for pin in kind.outputs:
            bits = instance.connections.get(pin, [])
            if len(bits) == 1 and not isinstance(bits[0], str):
                net = self.net(bits[0], "")
                self.add_driver(net, f"gate {name}")
                outputs.append(net)
            elif not bits:  # an open output gets its own net, because an arc to another output may start at it
                self.names.append(f"{name}/{pin}")
                self.add_driver(len(self.names) - 1, f"gate {name}")
                outputs.append(len(self.names) - 1)
            else:
                raise NetlistError(f"pin {pin} of gate {name} ({cell.name}) must drive one net, not {bits}")
        return Gate(name, list(self.kinds).index(cell.name), inputs, outputs)

    def check_drivers(self, used: Iterable[int]) -> None:
        """Refuse a net that has readers and no driver.

        Raises:
            NetlistError: There is such a net among `used`.
        """
        for net in used:
            if net not in self.driver:
                raise NetlistError(f"net {self.names[net]} must have a driver, but nothing drives it")


def _labels(module: Module) -> dict[int, str]:
    """Return a name for every net: the name of its port, or else the shortest name from the source text."""
    labels: dict[int, str] = {}
    named = sorted(module.netnames.items(), key=lambda item: (item[1].hide_name, len(item[0]), item[0]))
    for name, bits in [*((n, port.bits) for n, port in module.ports.items()), *((n, net.bits) for n, net in named)]:
        for i, bit in enumerate(bits):
            if isinstance(bit, int):
                labels.setdefault(bit, name if len(bits) == 1 else f"{name}[{i}]")
    return labels
