"""A small cell library and small multipliers for the simulation's tests, written for the purpose."""

import json
from functools import lru_cache

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.liberty.records import Library
from haloquant.circuits.netlist.parser import Netlist, parse_netlist
from haloquant.circuits.ports import MacPorts

_SLEWS = (0.0, 0.1)  # ns
_LOADS = (0.0, 0.1)  # pF


def _table(kind: str, at_zero: float, per_slew: float, per_load: float) -> str:
    rows = [", ".join(f"{at_zero + per_slew * s + per_load * c:.9g}" for c in _LOADS) for s in _SLEWS]
    values = ", ".join(f'"{row}"' for row in rows)
    template = "p2" if "power" in kind else "t"
    return f"{kind} ({template}) {{ values ({values}); }}"


def _cell(name: str, function: str, pins: str, delays: dict[str, tuple[float, float]], energy: float) -> str:
    inputs = "".join(
        f"pin ({p}) {{ direction : input; capacitance : 0.00{i + 1}; internal_power () {{"
        f' rise_power (p1) {{ values ("{0.0001 * (i + 1)}, {0.0001 * (i + 1)}"); }}'
        f' fall_power (p1) {{ values ("{0.0002 * (i + 1)}, {0.0002 * (i + 1)}"); }} }} }}\n'
        for i, p in enumerate(pins)
    )
    timing = ""
    for p in pins:
        rise, fall = delays[p]
        sense = "non_unate" if "^" in function else ("negative_unate" if function.startswith("!") else "positive_unate")
        timing += f'timing () {{ related_pin : "{p}"; timing_sense : {sense};\n'
        timing += _table("cell_rise", rise, 0.3, 2.0) + _table("cell_fall", fall, 0.25, 1.5)
        timing += _table("rise_transition", 0.01, 0.1, 3.0) + _table("fall_transition", 0.008, 0.1, 2.5) + " }\n"
        timing += f'internal_power () {{ related_pin : "{p}";'
        timing += _table("rise_power", energy, 0.01, 0.0) + _table("fall_power", 2 * energy, 0.0, 0.0) + " }\n"
    return (
        f"cell ({name}) {{ area : 1; cell_leakage_power : 2;\n"
        f'leakage_power () {{ when : "{"&".join(pins)}"; value : 5; }}\n{inputs}'
        f'pin (Y) {{ direction : output; function : "{function}";\n{timing} }} }}\n'
    )


def _register() -> str:
    tables = _table("cell_rise", 0.05, 0.1, 2.0) + _table("cell_fall", 0.06, 0.1, 2.0)
    tables += _table("rise_transition", 0.01, 0.1, 3.0) + _table("fall_transition", 0.01, 0.1, 3.0)
    setup = 'rise_constraint (c) { values ("0.02, 0.02", "0.02, 0.02"); }'
    setup += 'fall_constraint (c) { values ("0.03, 0.03", "0.03, 0.03"); }'
    return (
        'cell (DFF) { area : 4; cell_leakage_power : 8; ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }\n'
        "pin (D) { direction : input; capacitance : 0.001;"
        f' timing () {{ related_pin : "CK"; timing_type : setup_rising; {setup} }} }}\n'
        "pin (CK) { direction : input; clock : true; capacitance : 0.001; internal_power () {"
        ' rise_power (p1) { values ("0.003, 0.003"); } fall_power (p1) { values ("0.001, 0.001"); } } }\n'
        'pin (Q) { direction : output; function : "IQ";'
        f' timing () {{ related_pin : "CK"; timing_type : rising_edge; {tables} }} }} }}\n'
    )


def small_liberty() -> str:
    """Six gates and a register, with delays of tens of ps and different for every pin and edge, at 1 V."""
    text = (
        'library (small) { delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA";\n'
        'leakage_power_unit : "1nW"; capacitive_load_unit (1, pf);\n'
        "input_threshold_pct_rise : 50; input_threshold_pct_fall : 50;\n"
        "output_threshold_pct_rise : 50; output_threshold_pct_fall : 50;\n"
        "slew_lower_threshold_pct_rise : 20; slew_lower_threshold_pct_fall : 20;\n"
        "slew_upper_threshold_pct_rise : 80; slew_upper_threshold_pct_fall : 80;\n"
        "nom_voltage : 1; nom_temperature : 25; nom_process : 1;\n"
        "operating_conditions (typical) { process : 1; temperature : 25; voltage : 1; }\n"
        "default_operating_conditions : typical;\n"
        f"lu_table_template (t) {{ variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;"
        f' index_1 ("{_SLEWS[0]}, {_SLEWS[1]}"); index_2 ("{_LOADS[0]}, {_LOADS[1]}"); }}\n'
        f"lu_table_template (c) {{ variable_1 : related_pin_transition; variable_2 : constrained_pin_transition;"
        f' index_1 ("{_SLEWS[0]}, {_SLEWS[1]}"); index_2 ("{_SLEWS[0]}, {_SLEWS[1]}"); }}\n'
        f"power_lut_template (p2) {{ variable_1 : input_transition_time; variable_2 : total_output_net_capacitance;"
        f' index_1 ("{_SLEWS[0]}, {_SLEWS[1]}"); index_2 ("{_LOADS[0]}, {_LOADS[1]}"); }}\n'
        f'power_lut_template (p1) {{ variable_1 : input_transition_time; index_1 ("{_SLEWS[0]}, {_SLEWS[1]}"); }}\n'
    )
    text += _cell("INV", "!A", "A", {"A": (0.011, 0.007)}, 0.001)
    text += _cell("NAND2", "!(A & B)", "AB", {"A": (0.017, 0.013), "B": (0.021, 0.012)}, 0.002)
    text += _cell("AND2", "A & B", "AB", {"A": (0.031, 0.027), "B": (0.036, 0.029)}, 0.003)
    text += _cell("OR2", "A | B", "AB", {"A": (0.033, 0.041), "B": (0.029, 0.043)}, 0.003)
    text += _cell("XOR2", "A ^ B", "AB", {"A": (0.052, 0.047), "B": (0.039, 0.044)}, 0.005)
    maj = "(A & B) | (B & C) | (A & C)"
    text += _cell("MAJ3", maj, "ABC", {"A": (0.061, 0.071), "B": (0.065, 0.058), "C": (0.044, 0.049)}, 0.006)
    return text + _register() + "}\n"


@lru_cache
def small_library() -> Library:
    """`small_liberty`, read."""
    return parse_liberty(small_liberty(), "small.lib")


class Wiring:
    """Builds Yosys JSON: nets are numbers from 2."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[str, object]] = {}
        self.last = 1

    def net(self) -> int:
        self.last += 1
        return self.last

    def gate(self, kind: str, **pins: object) -> int:
        out = self.net()
        connections = {pin: [net] for pin, net in pins.items()} | {("Q" if kind == "DFF" else "Y"): [out]}
        self.cells[f"g{out}"] = {"type": kind, "connections": connections}
        return out

    def text(self, **ports: tuple[str, list[object]]) -> str:
        listed = {name: {"direction": direction, "bits": bits} for name, (direction, bits) in ports.items()}
        return json.dumps({"modules": {"mac": {"ports": listed, "cells": self.cells, "netnames": {}}}})


def _adder(wiring: Wiring, x: list, y: list) -> list:
    """Ripple adder of equal widths, the carry out dropped."""
    total, carry = [], "0"
    for a, b in zip(x, y, strict=True):
        half = wiring.gate("XOR2", A=a, B=b)
        total.append(wiring.gate("XOR2", A=half, B=carry))
        carry = wiring.gate("MAJ3", A=a, B=b, C=carry)
    return total


def multiplier(bits: int, *, partial: bool = False, pipelined: bool = False) -> Netlist:
    """A signed multiplier of sign-extended rows with ripple adders; with an adder, and a register before that."""
    wiring = Wiring()
    weight = [wiring.net() for _ in range(bits)]
    activation = [wiring.net() for _ in range(bits)]
    width = 2 * bits
    addend = [wiring.net() for _ in range(width)] if partial else []
    clock = wiring.net() if pipelined else 0
    wide = [*activation, *[activation[-1]] * bits]
    total: list = ["0"] * width
    for i, w in enumerate(weight):
        row = [*["0"] * i, *[wiring.gate("AND2", A=w, B=a) for a in wide[: width - i]]]
        if i < bits - 1:
            total = _adder(wiring, total, row)
        else:  # the sign bit's row is subtracted: -x = ~(x - 1) = ~(x + ~0)
            total = [wiring.gate("INV", A=b) for b in total]
            total = [wiring.gate("INV", A=b) for b in _adder(wiring, total, row)]
    if pipelined:
        total = [wiring.gate("DFF", D=b, CK=clock) for b in total]
    if partial:
        total = _adder(wiring, total, addend)
    ports = {"weight": ("input", weight), "activation": ("input", activation), "result": ("output", total)}
    if partial:
        ports["partial"] = ("input", addend)
    if pipelined:
        ports["clock"] = ("input", [clock])
    declared = MacPorts(
        partial="partial" if partial else None,
        clock="clock" if pipelined else None,
        weight_bits=bits,
        activation_bits=bits,
        result_bits=width,
        latency=1 if pipelined else 0,
    )
    return parse_netlist(wiring.text(**ports), small_library(), declared)
