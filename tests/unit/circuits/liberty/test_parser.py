"""Reading cell libraries: units, tables, functions, and the sentences of what is refused."""

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from support.gate_cases import CELLS, HEAD, liberty_error, library_text
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
        ("library (x) { nom_voltage : 0; cell (A) { } }",
         "x.lib:1: the supply voltage must be 0.05 to 50.0 V, not 0 V"),
        ("library (x) { slew_derate_from_library : 0; cell (A) { } }",
         "x.lib:1: slew_derate_from_library must be above 0, not 0"),
        ("library (x) { cell (A) { area : -2; } }", "x.lib:1: area of cell (A) must be at least 0, not -2"),
        ("library (x) { cell (A) { area : big; } }", "x.lib:1: area of cell (A) must be a finite number, not 'big'"),
    ],
)  # fmt: skip
def test_what_is_no_library(text: str, sentence: str):
    assert liberty_error(text) == sentence


def test_a_cell_twice():
    text = HEAD + f"cell (INV) {{ {CELLS['INV']} }}\n" * 2 + "}\n"
    library = parse_liberty(text)
    assert library.warnings == ("cell INV stands in the library twice; the first is taken",)
    start, end = library.left_out
    assert parse_liberty(text[:start] + text[end:]).warnings == ()


def test_one_odd_cell_is_left_out_with_a_warning():
    text = HEAD + f"cell (INV) {{ {CELLS['INV']} }}\ncell (ODD) {{ area : large; }}\n}}\n"
    library = parse_liberty(text, "x.lib")
    assert list(library.cells) == ["INV"]
    assert "cell ODD is left out: x.lib:" in library.warnings[0]
    start, end = library.left_out
    assert text[start:end] == "cell (ODD) { area : large; }"


@pytest.mark.parametrize(
    ("statements", "voltage_v", "temperature_c", "warnings"),
    [
        ("voltage_map (VDD, 0.9); voltage_map (VSS, 0.0);", 0.9, 25, 2),
        ("nom_temperature : 85;", 1.0, 85, 1),
        ("operating_conditions (typ) { voltage : 0.8; temperature : 25; }", 0.8, 25, 0),
        ('voltage_unit : "1mV"; nom_voltage : 1100; nom_temperature : 0;', 1.1, 0, 0),
    ],
)  # fmt: skip
def test_the_corner_of_a_library_that_does_not_state_it_plainly(
    statements: str, voltage_v: float, temperature_c: float, warnings: int
):
    library = parse_liberty(f"library (x) {{ {statements} cell (A) {{ }} }}")
    assert (library.corner.voltage_v, library.corner.temperature_c) == near((voltage_v, temperature_c))
    assert len(library.warnings) == warnings


@pytest.mark.parametrize(
    "unit",
    ['capacitive_load_unit\\\n ("1.0" \\\n, "pf");', "capacitive_load_unit (1.0e3, ff);", "V = 1.1;\n# x\n",
     "capacitive_load_unit (1,pf) ; "],
)  # fmt: skip
def test_statements_that_public_libraries_write_in_other_ways(unit: str):
    text = f"library (x) {{ nom_voltage : 1; {unit} cell (A) {{ pin \\\n (B) {{ capacitance : 2; }} }} }}"
    assert parse_liberty(text).cells["A"].pin("B").capacitance_f == near(2e-12)
