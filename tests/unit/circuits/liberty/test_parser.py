"""Reading cell libraries: units, tables, functions, and the sentences of what is refused."""

import numpy as np
import pytest

from haloquant.circuits.liberty.boolean_functions import parse_function, table_over_inputs
from haloquant.circuits.liberty.cells import function_sense
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.errors import LibertyError
from support.gate_cases import CELLS, HEAD, group, library_text
from support.near import near


def test_everything_comes_out_in_si_units():
    library = parse_liberty(library_text(), "small.lib")
    assert (library.name, library.source) == ("small", "small.lib")
    assert (library.corner.voltage_v, library.corner.temperature_c) == (1.1, 25.0)
    inverter = library.cells["INV"]
    assert inverter.area_m2 == 2e-12
    pin = inverter.pin("A")
    assert pin.rise_capacitance_f == near(0.02e-12)
    assert pin.fall_capacitance_f == near(0.024e-12)
    table = inverter.arcs[0].cell_rise
    assert table is not None
    np.testing.assert_allclose(table.rows, [0.1e-9, 0.3e-9])
    np.testing.assert_allclose(table.columns, [0.01e-12, 0.03e-12])
    np.testing.assert_allclose(table.values, [[0.10e-9, 0.20e-9], [0.14e-9, 0.28e-9]])


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


@pytest.mark.parametrize(
    ("text", "inputs", "rows"),
    [
        ("!A & B", ("A", "B"), [0, 0, 1, 0]),
        ("A' B", ("A", "B"), [0, 0, 1, 0]),
        ("A + B C", ("A", "B", "C"), [0, 1, 0, 1, 0, 1, 1, 1]),
        ("A ^ B & C", ("A", "B", "C"), [0, 0, 0, 0, 0, 1, 1, 0]),
        ("!(A | B)'", ("A", "B"), [0, 1, 1, 1]),
        ("1", (), [1]),
        ("A * 0", ("A",), [0, 0]),
    ],
)
def test_expressions_bind_as_liberty_says(text: str, inputs: tuple[str, ...], rows: list[int]):
    function = parse_function(text)
    assert function.inputs == inputs
    assert function.table().tolist() == rows
    for row, value in enumerate(rows):
        assert function.evaluate({name: row >> i & 1 for i, name in enumerate(inputs)}) == value


def test_a_function_over_other_inputs():
    assert table_over_inputs(parse_function("B & !A"), ("A", "C", "B")).tolist() == [0, 0, 0, 0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("text", "sense"), [("A & B", "positive_unate"), ("!A", "negative_unate"), ("A^B", "non_unate")]
)
def test_the_sense_of_a_function(text: str, sense: str):
    assert function_sense(parse_function(text), "A") == sense


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("A &", "an expression must be pins joined by ! ' ^ & * | +, but 'A &' has 'its end'"),
        ("(A", "an expression must be pins joined by ! ' ^ & * | +, but '(A' has 'its end'"),
        ("A ? B", "an expression must be pins joined by ! ' ^ & * | +, but 'A ? B' has '?'"),
        ("", "an expression must be pins joined by ! ' ^ & * | +, but '' has 'its end'"),
        (" ".join(f"A{i}" for i in range(13)), "an expression must name at most 12 pins, not 13: "
         "'A0 A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 A12'"),
        ("!" * 99 + "A", f"an expression must nest at most 64 deep, not {'!' * 60!r}..."),
        ("A" * 5000, "an expression must have at most 4096 characters, not 5000"),
    ],
)  # fmt: skip
def test_what_is_no_expression(text: str, sentence: str):
    with pytest.raises(LibertyError) as error:
        parse_function(text)
    assert str(error.value) == sentence


def _refused(text: str) -> str:
    with pytest.raises(LibertyError) as error:
        parse_liberty(text, "x.lib")
    return str(error.value)


def test_a_truncated_file_names_the_group_that_stays_open():
    text = library_text()
    cut = text[: text.index("}", text.index("cell (XOR2)"))]
    line = cut[: cut.rindex("pin (A)")].count("\n") + 1
    assert _refused(cut) == (
        f"x.lib:{line}: group pin (A) must be closed by '}}', but the file ends first; "
        "it is truncated or a brace is missing"
    )


def test_a_file_cut_inside_a_statement():
    text = library_text()
    cut = text[: text.index("capacitance", text.index("cell (XOR2)")) + 5]
    assert _refused(cut) == (
        f"x.lib:{cut.count(chr(10)) + 1}: the file must not end inside a statement, but it does, after 'capac'; "
        "it is truncated"
    )


def test_a_malformed_statement_is_shown_with_its_line():
    assert _refused("library (x) {\n  area = 3;\n}\n") == (
        "x.lib:2: a statement must be 'name : value;', 'name (values);' or 'name (args) {', not 'area = 3;'"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "x.lib:1: a Liberty file must hold 'library (name) { ... }', but this one is empty"),
        ("}", "x.lib:1: a '}' must close a group, but no group is open here"),
        ("cell (A) { }", "x.lib:1: the outermost group must be 'library', not 'cell'"),
        ("area : 1;", "x.lib:1: the file must begin with 'library (name) {', not with 'area'"),
        ("library (x) { }\nlibrary (y) { }", "x.lib:2: the file must hold one library, but a group library follows it"),
        ("library (x) {\n/* no end", "x.lib:2: a comment must be closed by '*/', but the file ends first"),
        ("library (x) {" + "g () {" * 20, "x.lib:1: groups must nest at most 16 deep, but g stands deeper"),
        ("library (x) { nom_voltage : 1; nom_temperature : 25; }",
         "x.lib:1: a library must hold at least one cell, but this one has none"),
        ("library (x) { delay_model : polynomial; }", "x.lib:1: delay_model must be table_lookup, not 'polynomial'"),
        ('library (x) { time_unit : "soon"; }',
         "x.lib:1: time_unit must be a unit such as '1ns' or (1, ff), not 'soon'"),
        ("library (x) { cell (A) { } }",
         "x.lib:1: a library must state nom_voltage and nom_temperature or an operating condition"),
        ("library (x) { cell (A) { area : big; } }", "x.lib:1: area of cell (A) must be a finite number, not 'big'"),
    ],
)  # fmt: skip
def test_what_is_no_library(text: str, sentence: str):
    assert _refused(text) == sentence


def _cell(body: str, name: str = "X") -> str:
    return library_text({name: body})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (group("cell_rise", [[1, 2]]), "cell_rise must have 2 x 2 values, not 2"),
        (group("cell_rise", [[1, 2], [3, 4]], "lost"),
         "cell_rise must name a table template of the library or 'scalar', not 'lost'"),
        ("cell_rise (delay) { }", "cell_rise must have values, but they are missing"),
        ('cell_rise (delay) { values ("1, 2", "3, x"); }', "values of cell_rise must be numbers, not 'x'"),
        ('cell_rise (delay) { values ("1, 2", "3, nan"); }',
         "values of cell_rise must be finite numbers, not '\"1, 2\", \"3, nan\"'"),
        ('cell_rise (delay) { index_1 ("2, 1"); values ("1, 2", "3, 4"); }',
         'index_1 of cell_rise must ascend, not "2, 1"'),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused_with_its_line(body: str, sentence: str):
    text = _cell(f'pin (Y) {{ direction : output; timing () {{ related_pin : "A";\n{body}\n}} }}\n')
    line = text[: text.index(body)].count("\n") + 1
    assert _refused(text) == f"x.lib:{line}: {sentence}"


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
def test_a_cell_that_makes_no_sense_is_refused(body: str, sentence: str):
    assert _refused(_cell(body)).split(": ", 1)[1] == sentence


def test_a_cell_twice():
    text = HEAD + f"cell (INV) {{ {CELLS['INV']} }}\n" * 2 + "}\n"
    assert _refused(text).endswith("the library must hold each cell once, but INV stands in it twice")
