"""Cell groups as records."""

import numpy as np
import pytest

from haloquant.circuits.liberty.boolean_functions import parse_function
from haloquant.circuits.liberty.cells import function_sense
from haloquant.circuits.liberty.parser import parse_liberty
from support.gate_cases import liberty_error, library_text
from support.near import near


def test_conditional_arcs_keep_their_condition_and_sense():
    arcs = parse_liberty(library_text()).cells["XOR2"].arcs
    assert [(a.related, a.sense, a.when.text if a.when else None) for a in arcs] == [
        ("A", "positive_unate", "!B"),
        ("A", "negative_unate", "B"),
        ("B", "positive_unate", "!A"),
        ("B", "negative_unate", "A"),
    ]


def test_a_register_has_its_functions_its_clock_arc_and_its_setup_with_clock_slew_along_the_rows():
    cell = parse_liberty(library_text()).cells["DFF"]
    assert cell.register is not None
    assert cell.register.next_state.text == "D"
    assert cell.arcs[0].kind == "rising_edge"
    (setup,) = cell.constraints
    assert setup.kind == "setup_rising"
    assert setup.rise is not None
    np.testing.assert_allclose(setup.rise.rows, [0.0, 0.2e-9])  # the file has the data slew first
    np.testing.assert_allclose(setup.rise.values, [[0.03e-9, 0.02e-9], [0.05e-9, 0.04e-9]])


def test_latches_and_three_state_outputs_are_marked():
    cells = parse_liberty(library_text()).cells
    assert cells["LATCH"].latch
    assert cells["TRI"].pin("Y").three_state is not None
    assert not cells["DFF"].latch


def test_power_and_leakage_with_their_conditions():
    power = (
        "pin (A) { direction : input; capacitance : 0.01;\n"
        'internal_power () { when : "!B"; rise_power (scalar) { values ("3"); }\n'
        'fall_power (scalar) { values ("4"); } } }\n'
        "pin (B) { direction : input; }\n"
        'leakage_power () { when : "A & B"; value : 7; }\ncell_leakage_power : 9;\n'
    )
    cell = parse_liberty(library_text({"X": power})).cells["X"]
    (internal,) = cell.powers
    assert internal.rise is not None
    assert internal.rise.values[0, 0] == near(3e-12)  # pF V^2
    assert internal.when is not None
    assert internal.when.text == "!B"
    assert (cell.leakage[0].power_w, cell.leakage_w) == (near(7e-9), near(9e-9))


def test_leakage_of_several_supplies_is_added_state_by_state():
    """As ASAP7 gives it: a group for each supply pin, the ground pin among them."""

    def group(supply: str, value: int, when: str = "") -> str:
        state = f'when : "{when}"; ' if when else ""
        return f'leakage_power () {{ {state}related_pg_pin : "{supply}"; value : {value}; }}\n'

    power = group("VDD", 4) + group("VSS", 0) + group("VDD", 6, "A") + group("VSS", 1, "A") + group("VDD", 2, "!A")
    pins = "pin (A) { direction : input; }\n"
    cell = parse_liberty(library_text({"X": pins + power})).cells["X"]
    found = {"" if entry.when is None else entry.when.text: entry.power_w for entry in cell.leakage}
    assert found == {"": near(4e-9), "A": near(7e-9), "!A": near(2e-9)}


@pytest.mark.parametrize(
    ("text", "sense"), [("A & B", "positive_unate"), ("!A", "negative_unate"), ("A^B", "non_unate")]
)
def test_the_sense_of_a_function(text: str, sense: str):
    assert function_sense(parse_function(text), "A") == sense


def _cell(body: str, name: str = "X") -> str:
    return library_text({name: body})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("pin (A) { direction : sideways; }", "direction of pin A must be input, output or inout, not 'sideways'"),
        ("pin (A) { }\npin (A) { }", "cell X must name each pin once, not ['A', 'A']"),
        ("pin (Y) { timing () { } }", "timing of pin Y must have a related_pin, but has none"),
        ('pin (Y) { function : "A &"; }',
         "function of pin (Y): an expression must be pins joined by ! ' ^ & * | +, but 'A &' has 'its end'"),
        ('ff (IQ) { clocked_on : "C"; next_state : "D"; }',
         "ff must name two state variables, clocked_on and next_state"),
    ],
)  # fmt: skip
def test_a_cell_that_makes_no_sense_isliberty_error(body: str, sentence: str):
    assert liberty_error(_cell(body)).split(": ", 1)[1] == sentence
