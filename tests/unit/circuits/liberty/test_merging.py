"""Files of one library are put together only where their tables mean the same."""

import re

import pytest

from haloquant.circuits.liberty.merging import merge_libraries
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.errors import LibertyError

HEADER = """library ({name}) {{
  date : "{name}";
  time_unit : "1ps";
  capacitive_load_unit (1, ff);
  voltage_unit : "1V";
  nom_voltage : {volts};
  nom_temperature : 25;
  lu_table_template (t2) {{ variable_1 : input_net_transition; index_1 ("{axis}"); }}
  operating_conditions ({name}_tt) {{ process : 1; temperature : 25; voltage : {volts}; }}
{cells}
}}
"""
CELL = """  cell ({name}) {{
    area : {area};
    pin (A) {{ direction : input; capacitance : 1.5; }}
    pin (Y) {{ direction : output; function : "!A"; }}
  }}"""


def library(name: str, *cells: str, volts: str = "0.7", axis: str = "1, 2") -> tuple[str, str]:
    inner = "\n".join(CELL.format(name=cell, area=len(cell)) for cell in cells)
    return f"{name}.lib", HEADER.format(name=name, cells=inner, volts=volts, axis=axis)


def test_cells_of_all_files_under_the_header_of_the_first() -> None:
    text = merge_libraries(
        [library("simple", "NAND", "NOR"), library("invbuf", "INV", axis="1.0 ,2"), library("seq", "DFF")]
    )
    merged = parse_liberty(text)
    assert merged.name == "simple" and list(merged.cells) == ["NAND", "NOR", "INV", "DFF"]
    assert merged.corner.voltage_v == 0.7 and not merged.warnings
    assert merged.cells["INV"].area_m2 == pytest.approx(3e-12)
    assert text.count("lu_table_template") == text.count("operating_conditions") == 1


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (library("b", "INV", volts="0.77"), "b.lib:1: nom_voltage must be as in a.lib: 0.7, not 0.77"),
        (library("b", "NAND"), "b.lib:10: cell NAND must stand in one of the files, but is in a.lib too"),
        (library("b", "INV", axis="1, 3"), "b.lib:8: lu_table_template (t2) must be the same as in a.lib"),
        (
            (lambda name, text: (name, text.replace("  time_unit", "  default_max_transition : 3;\n  time_unit")))(
                *library("b", "INV")
            ),
            "default_max_transition must be as in a.lib: not stated, not 3",
        ),
        (("b.lib", "library (b) {"), "the file ends first"),
    ],
)
def test_what_does_not_fit_together_is_refused(second, sentence) -> None:
    with pytest.raises(LibertyError, match=re.escape(sentence)):
        merge_libraries([library("a", "NAND"), second])


def test_one_file_is_none() -> None:
    with pytest.raises(LibertyError, match="at least two files"):
        merge_libraries([library("a", "NAND")])
