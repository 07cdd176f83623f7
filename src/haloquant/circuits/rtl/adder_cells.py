"""Verilog modules `fa` and `ha` made of a library's own full-adder and half-adder cells."""

import numpy as np

from haloquant.circuits.liberty.records import Cell, Library
from haloquant.errors import LibertyError


def adder_verilog(library: Library) -> str:
    """Return Verilog of the modules `fa` and `ha`, made of the library's smallest adder cells.

    Synthesis that keeps the adder structure replaces the modules of a generated MAC by these. If a cell has inverted
    outputs (as in ASAP7), plain logic inverts them again, and technology mapping turns this logic into inverters. If
    the library has no half adder, `ha` is plain logic.

    Raises:
        LibertyError: If the library has no full-adder cell.
    """
    full = _smallest(library, 3)
    if full is None:
        raise LibertyError(
            f"{library.source}: a netlist that keeps its structure needs a full-adder cell (sum and majority of three "
            "inputs), and there is none; map with partitions instead"
        )
    text = _wrap("fa", *full)
    half = _smallest(library, 2)
    plain = "module ha (input a, input b, output s, output co);\n  assign s = a ^ b;\n  assign co = a & b;\nendmodule\n"
    return text + "\n" + (plain if half is None else _wrap("ha", *half))


_Wiring = tuple[Cell, tuple[str, ...], tuple[str, bool], tuple[str, bool]]  # inputs; sum and carry: pin, inverted


def _smallest(library: Library, inputs: int) -> _Wiring | None:
    found = [wiring for cell in library.cells.values() if (wiring := _as_adder(cell, inputs)) is not None]
    return min(found, key=lambda wiring: (wiring[0].area_m2, wiring[0].name), default=None)


def _as_adder(cell: Cell, inputs: int) -> _Wiring | None:
    pins = tuple(pin.name for pin in cell.inputs)
    if cell.dont_use or cell.register or cell.latch or len(pins) != inputs or len(cell.outputs) != 2:
        return None
    roles: dict[str, tuple[str, bool]] = {}
    for output in cell.outputs:
        if output.function is None or set(output.function.inputs) != set(pins):
            return None
        function = output.function
        table = np.array([function.evaluate(_row(row, pins)) for row in range(1 << inputs)])
        ones = np.array([row.bit_count() for row in range(1 << inputs)])
        for role, wanted in (("s", ones % 2 == 1), ("co", ones >= 2)):
            if (table == wanted).all() or (table != wanted).all():
                roles[role] = (output.name, bool((table != wanted).all()))
    return (cell, pins, roles["s"], roles["co"]) if len(roles) == 2 else None


def _row(row: int, pins: tuple[str, ...]) -> dict[str, int]:
    return {pin: row >> i & 1 for i, pin in enumerate(pins)}


def _wrap(module: str, cell: Cell, pins: tuple[str, ...], total: tuple[str, bool], carry: tuple[str, bool]) -> str:
    ports = ("a", "b", "c")[: len(pins)]
    wires = [f".{pin}({port})" for pin, port in zip(pins, ports, strict=True)]
    wires += [f".{total[0]}(x)", f".{carry[0]}(y)"]
    inputs = ", ".join(f"input {port}" for port in ports)
    return (
        f"module {module} ({inputs}, output s, output co);\n  wire x, y;\n"
        f"  {cell.name} cell_ ({', '.join(wires)});\n"
        f"  assign s = {'~' if total[1] else ''}x;\n  assign co = {'~' if carry[1] else ''}y;\nendmodule\n"
    )
