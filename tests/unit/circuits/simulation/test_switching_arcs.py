"""Which table applies to which change of a pin, and its value, worked out by hand."""

import numpy as np
import pytest

from haloquant.circuits.liberty.boolean_functions import parse_function
from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.simulation.switching_arcs import (
    cell_switching_tables,
    condition_minterms,
    leakage_table,
    read_gate_tables,
    read_table,
    truth_table,
)
from haloquant.errors import LibertyError
from support.circuits import small_library
from support.gate_cases import arc, input_pin, library_text, output_pin
from support.near import near
from support.timing_netlists import LIBRARY

NANO, PICO = 1e-9, 1e-12


def _slew(pin: int, level: int) -> np.ndarray:
    return np.array([0.1 * NANO])


def _delays_ns(cell: str) -> np.ndarray:
    """Delays at a corner of the tables, [pin, minterm after]: there the factor of an arc is its delay / 0.1 ns."""
    tables = cell_switching_tables(LIBRARY.cells[cell], "Y")
    return read_gate_tables(tables.delay, tables.pins, _slew, (0.01 * PICO, 0.01 * PICO), 1, np.max)[0] / NANO


def test_an_exclusive_or_takes_the_arc_of_the_other_pins_level() -> None:
    """A with B low: factor 1.3 (a falling output 0.8 of it); with B high 0.7. B with A low: 1.2; with A high 0.6."""
    wanted = [[0.104, 0.13, 0.07, 0.056], [0.096, 0.06, 0.12, 0.048]]
    assert _delays_ns("XOR2").ravel() == near(np.ravel(wanted))


def test_an_arc_without_condition_is_for_what_no_condition_covers() -> None:
    """(A1 & A2) | B rises with B after 0.5, 0.6 or 0.9 of the table: neither, only A1, only A2 high."""
    rising = _delays_ns("AO21")[2, 4:7]
    assert rising == near([0.05, 0.06, 0.09])


def test_of_several_arcs_for_one_change_a_delay_takes_the_slowest() -> None:
    two = arc("A", "positive_unate", 1.0), arc("A", "positive_unate", 2.0)
    library = parse_liberty(library_text({"BUF": input_pin("A") + output_pin("Y", "A", *two)}))
    tables = cell_switching_tables(library.cells["BUF"], "Y")
    found = read_gate_tables(tables.delay, 1, _slew, (0.01 * PICO, 0.03 * PICO), 1, np.max)[0] / NANO
    assert found.ravel() == near([0.16, 0.4])  # falls at the small load, rises at the large one


def test_energies_of_an_output_and_of_the_pins_themselves() -> None:
    """NAND2: its output takes 2 fJ and 0.01 fJ per ps of slew up, 4 fJ down; pin A 0.1 and 0.2 fJ, pin B twice that."""
    tables = cell_switching_tables(small_library().cells["NAND2"], "Y")
    internal = read_gate_tables(tables.internal, 2, _slew, (0.0, 0.0), 1, np.mean)[0]
    hidden = read_gate_tables(tables.hidden, 2, _slew, (0.0, 0.0), 1, np.mean)[0]
    assert internal[0, [2, 3]] * 1e15 == near([3.0, 4.0])  # B high: A falls, the output rises; A rises, it falls
    assert hidden[0] * 1e15 == near([0.2, 0.1, 0.2, 0.1])  # A is low in the even minterms
    assert hidden[1] * 1e15 == near([0.4, 0.4, 0.2, 0.2])


def test_a_table_is_read_between_and_beyond_its_points() -> None:
    """INV: 0.18 ns amid all four values; half a cell below both axes 2.25 * 0.10 - 0.75 * 0.34 + 0.25 * 0.28."""
    table = LIBRARY.cells["INV"].arcs[0].cell_rise
    assert table is not None
    assert read_table(table, np.array([0.2, 0.1, 0.3]) * NANO, 0.02 * PICO) / NANO == near([0.18, 0.15, 0.21])
    assert read_table(table, np.array([0.0]), 0.0) / NANO == near([0.04])


def test_a_condition_may_name_inputs_and_outputs() -> None:
    adder = LIBRARY.cells["HA"]
    assert condition_minterms(adder, parse_function("B & !A")).tolist() == [False, False, True, False]
    assert condition_minterms(adder, parse_function("CO")).tolist() == [False, False, False, True]
    assert condition_minterms(adder, None).all()


def test_leakage_falls_back_to_the_cells_value() -> None:
    """AND2 of the small library leaks 5 nW where both inputs are high; the cell's own value is 2 nW."""
    assert leakage_table(small_library().cells["AND2"]) * 1e9 == near([2, 2, 2, 5])


def test_what_a_cell_lacks_is_said() -> None:
    with pytest.raises(LibertyError, match=r"^pin A of cell INV must have a function, but has none$"):
        truth_table(LIBRARY.cells["INV"], "A")
    text = library_text({"X": input_pin("A") + input_pin("B") + output_pin("Y", "A B", arc("A", "positive_unate", 1))})
    with pytest.raises(LibertyError, match=r"^cell X must have a timing arc from B to Y, but has none$"):
        cell_switching_tables(parse_liberty(text).cells["X"], "Y")
