"""A small cell library of our own with round numbers, and netlists on it, for the tests of `gates`."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.errors import LibertyError


def group(kind: str, rows: Sequence[Sequence[float]], template: str = "delay") -> str:
    """One look-up table as Liberty text."""
    values = ", ".join('"' + ", ".join(f"{v:g}" for v in row) + '"' for row in rows)
    return f"{kind} ({template}) {{ values ({values}); }}\n"


def arc(related: str, sense: str, scale: float, when: str = "", kind: str = "") -> str:
    """A timing group whose tables are `scale` times fixed ones over slew (0.1, 0.3) ns and load (0.01, 0.03) pF."""
    base = np.array([[0.10, 0.20], [0.14, 0.28]])
    lines = [f'timing () {{ related_pin : "{related}"; timing_sense : {sense};']
    lines += [f'when : "{when}";'] if when else []
    lines += [f"timing_type : {kind};"] if kind else []
    for name, factor in (("cell_rise", 1.0), ("cell_fall", 0.8), ("rise_transition", 0.5), ("fall_transition", 0.4)):
        lines.append(group(name, (scale * factor * base).tolist()))
    return "\n".join([*lines, "}\n"])


def input_pin(name: str, rise: float = 0.02, fall: float = 0.024) -> str:
    """An input pin with its capacitances in pF."""
    return (
        f"pin ({name}) {{ direction : input; capacitance : {(rise + fall) / 2:g}; "
        f"rise_capacitance : {rise:g}; fall_capacitance : {fall:g}; }}\n"
    )


def output_pin(name: str, function: str, *inner: str) -> str:
    """An output pin with its function and groups."""
    return f'pin ({name}) {{ direction : output; function : "{function}";\n{"".join(inner)}}}\n'


INV_TABLES = (
    'timing () { related_pin : "A"; timing_sense : negative_unate;\n'
    + group("cell_rise", [[0.10, 0.20], [0.14, 0.28]])
    + group("rise_transition", [[0.05, 0.15], [0.07, 0.21]])
    + group("cell_fall", [[0.08, 0.16], [0.12, 0.24]])
    + group("fall_transition", [[0.04, 0.10], [0.06, 0.16]])
    + "}\n"
)
NAND_A_TABLES = (
    'timing () { related_pin : "A"; timing_sense : negative_unate;\n'
    + group("cell_rise", [[0.10, 0.30], [0.20, 0.40]])
    + group("rise_transition", [[0.10, 0.20], [0.10, 0.20]])
    + group("cell_fall", [[0.06, 0.10], [0.10, 0.18]])
    + group("fall_transition", [[0.10, 0.20], [0.10, 0.20]])
    + "}\n"
)
SETUP = (
    'timing () { related_pin : "CK"; timing_type : setup_rising;\n'
    + group("rise_constraint", [[0.03, 0.05], [0.02, 0.04]], "check")
    + group("fall_constraint", [[0.06, 0.08], [0.05, 0.07]], "check")
    + "}\n"
)

CELLS: dict[str, str] = {
    "INV": input_pin("A") + output_pin("Y", "!A", INV_TABLES),
    "NAND2": input_pin("A")
    + input_pin("B")
    + output_pin("Y", "!(A & B)", NAND_A_TABLES, arc("B", "negative_unate", 0.9)),
    "XOR2": input_pin("A")
    + input_pin("B")
    + output_pin(
        "Y",
        "A ^ B",
        arc("A", "positive_unate", 1.3, "!B"),
        arc("A", "negative_unate", 0.7, "B"),
        arc("B", "positive_unate", 1.2, "!A"),
        arc("B", "negative_unate", 0.6, "A"),
    ),
    "AO21": input_pin("A1")
    + input_pin("A2")
    + input_pin("B")
    + output_pin(
        "Y",
        "(A1 & A2) | B",
        arc("A1", "positive_unate", 1.0),
        arc("A2", "positive_unate", 1.1),
        arc("B", "positive_unate", 0.5, "!A1 & !A2"),
        arc("B", "positive_unate", 0.6, "A1 & !A2"),
        arc("B", "positive_unate", 0.9),
    ),
    "MUX2": input_pin("A")
    + input_pin("B")
    + input_pin("S")
    + output_pin(
        "Y", "S' A + S B", arc("A", "positive_unate", 1.0), arc("B", "positive_unate", 1.0), arc("S", "non_unate", 1.4)
    ),
    "HA": input_pin("A")
    + input_pin("B")
    + output_pin("CO", "A & B", arc("A", "positive_unate", 0.8), arc("B", "positive_unate", 0.8))
    + output_pin("S", "A ^ B", arc("A", "non_unate", 1.5), arc("B", "non_unate", 1.6)),
    "SUM": input_pin("A")
    + input_pin("B")
    + output_pin("SN", "A B | A' B'", *(arc(p, "non_unate", s) for p, s in (("A", 3), ("B", 3), ("CON", 4))))
    + output_pin("CON", "!(A B)", arc("A", "negative_unate", 1.0), arc("B", "negative_unate", 1.0)),
    "TIE1": output_pin("Y", "1"),
    "DFF": 'ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }\n'
    + 'pin (D) { direction : input; capacitance : 0.01;\n' + SETUP + "}\n"
    + "pin (CK) { direction : input; capacitance : 0.01; clock : true; }\n"
    + output_pin("Q", "IQ", arc("CK", "non_unate", 2.0, kind="rising_edge")),
    "LATCH": 'latch (IQ, IQN) { enable : "G"; data_in : "D"; }\n'
    + input_pin("D")
    + input_pin("G")
    + output_pin("Q", "IQ", arc("D", "positive_unate", 1.0)),
    "TRI": input_pin("A")
    + input_pin("E")
    + 'pin (Y) { direction : output; function : "A"; three_state : "!E"; }\n',
}  # fmt: skip

HEAD = """library (small) {
  delay_model : table_lookup;
  time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, pf);
  nom_voltage : 1.1; nom_temperature : 25; nom_process : 1;
  lu_table_template (delay) {
    variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("0.1, 0.3"); index_2 ("0.01, 0.03");
  }
  lu_table_template (check) {
    variable_1 : constrained_pin_transition; variable_2 : related_pin_transition;
    index_1 ("0.1, 0.3"); index_2 ("0.0, 0.2");
  }
"""


def library_text(cells: Mapping[str, str] = CELLS, head: str = HEAD) -> str:
    """A Liberty file of some cells."""
    body = "".join(f"cell ({name}) {{ area : 2;\n{text}}}\n" for name, text in cells.items())
    return f"{head}{body}}}\n"


Gate = tuple[str, dict[str, int | str]]  # (cell, net or constant by pin)


def netlist_json(ports: Mapping[str, tuple[str, Sequence[int | str]]], gates: Mapping[str, Gate]) -> str:
    """A module in the form of Yosys' write_json. Ports: name -> (direction, nets)."""
    module = {
        "ports": {name: {"direction": way, "bits": list(bits)} for name, (way, bits) in ports.items()},
        "cells": {
            name: {"type": cell, "connections": {pin: [net] for pin, net in pins.items()}}
            for name, (cell, pins) in gates.items()
        },
        "netnames": {},
    }
    return json.dumps({"modules": {"mac": module}})


PINS = {
    "INV": (("A",), ("Y",)),
    "NAND2": (("A", "B"), ("Y",)),
    "XOR2": (("A", "B"), ("Y",)),
    "AO21": (("A1", "A2", "B"), ("Y",)),
    "MUX2": (("A", "B", "S"), ("Y",)),
    "HA": (("A", "B"), ("CO", "S")),
}


def random_gates(
    seed: int, inputs: Sequence[int], count: int, pins: Mapping[str, tuple[Sequence[str], Sequence[str]]] = PINS
) -> tuple[dict[str, Gate], list[int]]:
    """A random circuit behind the given nets: its gates, and all the nets it drives, in order."""
    rng = np.random.default_rng(seed)
    nets: list[int | str] = ["0", "1", *inputs]
    gates: dict[str, Gate] = {}
    driven: list[int] = []
    for i in range(count):
        cell = str(rng.choice(list(pins)))
        chosen = {pin: nets[int(rng.integers(max(0, len(nets) - 12), len(nets)))] for pin in pins[cell][0]}
        for pin in pins[cell][1]:
            chosen[pin] = 1000 + len(driven)
            driven.append(1000 + len(driven))
        gates[f"u{i}"] = (cell, chosen)
        nets += driven[-len(pins[cell][1]) :]
    return gates, driven


def array_multiplier(bits: int, cells: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    """An unsigned ripple array multiplier: ports weight, activation, result.

    Args:
        bits: width of both operands.
        cells: "and", "ha" and "fa" -> (cell, pins); the pins are a b y, a b s co and a b ci s co.
    """
    weight, activation = list(range(2, 2 + bits)), list(range(100, 100 + bits))
    gates: dict[str, Gate] = {}
    last = 999

    def place(kind: str, *inputs: int) -> list[int]:
        nonlocal last
        name, pins = cells[kind]
        outputs = [last + 1 + i for i in range(len(pins) - len(inputs))]
        last += len(outputs)
        gates[f"{kind}{len(gates)}"] = (name, dict(zip(pins, [*inputs, *outputs], strict=True)))
        return outputs

    row = [place("and", weight[0], a)[0] for a in activation]
    top: int | None = None
    result: list[int] = []
    for w in weight[1:]:
        result.append(row[0])
        addend = [place("and", w, a)[0] for a in activation]
        above = [*row[1:], *([top] if top is not None else [])]
        carry: int | None = None
        row = []
        for i, b in enumerate(addend):
            terms = [t for t in (above[i] if i < len(above) else None, b, carry) if t is not None]
            if len(terms) == 1:
                row.append(terms[0])
                carry = None
            else:
                total, carry = place("fa" if len(terms) == 3 else "ha", *terms)
                row.append(total)
        top = carry
    result += [*row, *([top] if top is not None else [])]
    ports: dict[str, tuple[str, Sequence[int | str]]] = {
        "weight": ("input", weight),
        "activation": ("input", activation),
        "result": ("output", result),
    }
    return netlist_json(ports, gates)


def liberty_error(text: str) -> str:
    """What the reader of Liberty files says against a text."""
    with pytest.raises(LibertyError) as error:
        parse_liberty(text, "x.lib")
    return str(error.value)
