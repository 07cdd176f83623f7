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
        ("library (x) { cell (A) { } }",
         "x.lib:1: a library must state nom_voltage and nom_temperature or an operating condition"),
        ("library (x) { cell (A) { area : big; } }", "x.lib:1: area of cell (A) must be a finite number, not 'big'"),
    ],
)  # fmt: skip
def test_what_is_no_library(text: str, sentence: str):
    assert liberty_error(text) == sentence


def test_a_cell_twice():
    text = HEAD + f"cell (INV) {{ {CELLS['INV']} }}\n" * 2 + "}\n"
    assert liberty_error(text).endswith("the library must hold each cell once, but INV stands in it twice")
