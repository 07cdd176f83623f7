"""A cell library that synthesis can map to: few gates, linear tables that are positive everywhere, of our own."""

GATES = {
    "INV": ("!A", "A", 1.0, 10),
    "BUF": ("A", "A", 1.5, 18),
    "NAND2": ("!(A & B)", "AB", 1.5, 14),
    "NOR2": ("!(A | B)", "AB", 1.5, 17),
    "AND2": ("A & B", "AB", 2.0, 25),
    "OR2": ("A | B", "AB", 2.0, 27),
    "XOR2": ("A ^ B", "AB", 3.0, 33),
}
_SLEW, _LOAD = (1.0, 20.0, 100.0), (0.5, 4.0, 30.0)  # ps, fF


def _table(kind: str, base: float) -> str:
    rows = [", ".join(f"{base + 0.1 * slew + 3.0 * load:g}" for load in _LOAD) for slew in _SLEW]
    values = ", ".join(f'"{row}"' for row in rows)
    return f"{kind} (t) {{ values ({values}); }}\n"


def _gate(name: str, function: str, pins: str, area: float, delay: float) -> str:
    sense = "non_unate" if "^" in function else "negative_unate" if "!" in function else "positive_unate"
    kinds = ("cell_rise", "cell_fall", "rise_transition", "fall_transition")
    tables = "".join(_table(kind, delay) for kind in kinds)
    arcs = "".join(f'timing () {{ related_pin : "{p}"; timing_sense : {sense};\n{tables}}}\n' for p in pins)
    inputs = "".join(f"pin ({p}) {{ direction : input; capacitance : 1.0; }}\n" for p in pins)
    output = f'pin (Y) {{ direction : output; function : "{function}"; max_capacitance : 60;\n{arcs}}}\n'
    return f"cell ({name}) {{ area : {area}; cell_leakage_power : 1;\n{inputs}{output}}}\n"


def mapping_library_text() -> str:
    """The Liberty text: seven gates and a flip-flop, in ps and fF."""
    axes = f'index_1 ("{", ".join(map(str, _SLEW))}"); index_2 ("{", ".join(map(str, _LOAD))}");'
    tables = "".join(_table(kind, 40) for kind in ("cell_rise", "cell_fall", "rise_transition", "fall_transition"))
    register = (
        'cell (DFF) { area : 6; cell_leakage_power : 3; ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; }\n'
        "pin (D) { direction : input; capacitance : 1.0; }\n"
        "pin (CK) { direction : input; clock : true; capacitance : 1.0; }\n"
        'pin (Q) { direction : output; function : "IQ";\n'
        f'timing () {{ related_pin : "CK"; timing_type : rising_edge;\n{tables}}} }} }}\n'
    )
    return (
        "library (mapping) { delay_model : table_lookup;\n"
        'time_unit : "1ps"; voltage_unit : "1V"; current_unit : "1mA";\n'
        'leakage_power_unit : "1nW"; capacitive_load_unit (1, ff);\n'
        "nom_voltage : 1; nom_temperature : 25; nom_process : 1;\n"
        "lu_table_template (t) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;\n"
        + f"{axes} }}\n"
        + "".join(_gate(name, *what) for name, what in GATES.items())
        + register
        + "}\n"
    )
