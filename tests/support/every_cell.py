"""A netlist with every combinational cell of a library in it."""

from haloquant.circuits.liberty.records import Cell, Library
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts
from support.gate_cases import Gate, netlist_json

# (cell, pins) of an array multiplier's gates, by library; a full adder glitches, and has two outputs.
ARRAY_CELLS = {
    "nangate45": {
        "and": ("AND2_X1", ("A1", "A2", "ZN")),
        "ha": ("HA_X1", ("A", "B", "S", "CO")),
        "fa": ("FA_X1", ("A", "B", "CI", "S", "CO")),
    },
    "sky130hd": {
        "and": ("sky130_fd_sc_hd__and2_0", ("A", "B", "X")),
        "ha": ("sky130_fd_sc_hd__ha_1", ("A", "B", "SUM", "COUT")),
        "fa": ("sky130_fd_sc_hd__fa_1", ("A", "B", "CIN", "SUM", "COUT")),
    },
}


def combinational(library: Library) -> list[Cell]:
    return [
        cell
        for cell in library.cells.values()
        if cell.register is None and not cell.latch and not cell.dont_use
        and 1 <= len(cell.inputs) <= 6 and cell.outputs
        and all(pin.function and not pin.three_state for pin in cell.outputs)
    ]  # fmt: skip


def one_of_each(library: Library) -> tuple[Netlist, dict[str, Cell]]:
    """Every combinational cell once, with an inverter before each pin and none to three behind each output."""
    cells = combinational(library)
    inverter = next(c for c in cells if len(c.inputs) == len(c.outputs) == 1 and _table(c) == [1, 0])
    gates: dict[str, Gate] = {}
    results: list[int] = []
    last = 99

    def invert(name: str, net: int) -> int:
        nonlocal last
        last += 1
        gates[name] = (inverter.name, {inverter.inputs[0].name: net, inverter.outputs[0].name: last})
        return last

    for k, cell in enumerate(cells):
        pins: dict[str, int | str] = {}
        for i, pin in enumerate(cell.inputs):
            pins[pin.name] = invert(f"before{k}_{i}", 2 + (k + i) % 8)
            if (k + i) % 3 == 0:
                invert(f"beside{k}_{i}", last)
        for pin in cell.outputs:
            last += 1
            pins[pin.name] = last
            results.append(last)
            for j in range(k % 4):
                invert(f"behind{k}_{pin.name}_{j}", results[-1])
        gates[f"cell{k}"] = (cell.name, pins)
    ports = {"weight": ("input", [10]), "activation": ("input", list(range(2, 10))), "result": ("output", results)}
    declared = MacPorts(partial=None, weight_bits=1, activation_bits=8, result_bits=len(results))
    return parse_netlist(netlist_json(ports, gates), library, declared), {f"cell{k}": c for k, c in enumerate(cells)}


def _table(cell: Cell) -> list[int]:
    function = cell.outputs[0].function
    assert function is not None
    return function.table().tolist()
