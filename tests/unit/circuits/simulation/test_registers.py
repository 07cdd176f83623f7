"""Delays and energies of a register, worked out by hand from the small library."""

import numpy as np
import pytest

from haloquant.circuits.liberty.parser import parse_liberty
from haloquant.circuits.simulation.registers import (
    clock_energy_j,
    data_pins,
    data_slots,
    register_slots,
    register_truth,
)
from haloquant.errors import NetlistError
from support.circuits import small_liberty, small_library
from support.near import near

DFF = small_library().cells["DFF"]


def _changed(old: str, new: str):
    """The register with one piece of its text replaced."""
    text = small_liberty()
    assert text.count(old) == 1
    return parse_liberty(text.replace(old, new), "changed.lib").cells["DFF"]


def test_the_output_is_the_data_pin_after_the_edge() -> None:
    assert data_pins(DFF) == ("D",)
    assert register_truth(DFF, "Q") == [0, 1]
    gated = _changed('next_state : "D"', 'next_state : "D & D2"')
    assert (data_pins(gated), register_truth(gated, "Q")) == (("D", "D2"), [0, 0, 0, 1])


def test_an_inverted_output_is_the_other_level() -> None:
    both = _changed("pin (Q) {", 'pin (QN) { direction : output; function : "IQN"; }\npin (Q) {')
    assert register_truth(both, "QN") == [1, 0]
    assert register_truth(_changed('function : "IQ"', 'function : "!IQ"'), "Q") == [1, 0]
    with pytest.raises(NetlistError, match=r"^cell DFF must have a clock-to-QN arc, but has none$"):
        register_slots(both, "QN", 0.0, (0.0, 0.0), 1)


def test_delays_are_read_at_the_clocks_slew_and_the_edges_load() -> None:
    """At 10 ps: a fall takes 60 + 0.1 * 10 + 2000 * 0.001 = 63 ps at 1 fF, a rise 50 + 1 + 4 = 55 ps at 2 fF."""
    delay_fs, energy_j = register_slots(DFF, "Q", 10e-12, (1e-15, 2e-15), 3)
    assert delay_fs.tolist() == [[[63000, 55000]]] * 3
    assert (energy_j == 0).all()


def test_a_data_pin_takes_the_mean_over_conditions() -> None:
    """Rise 1 and 3 fJ, fall 2 and 4 fJ, for the clock high and low."""
    power = "".join(
        f'internal_power () {{ when : "{when}"; rise_power (p1) {{ values ("{rise}, {rise}"); }} '
        f'fall_power (p1) {{ values ("{fall}, {fall}"); }} }}\n'
        for when, rise, fall in (("CK", 0.001, 0.002), ("!CK", 0.003, 0.004))
    )
    cell = _changed("pin (D) { direction : input; capacitance : 0.001;", f"pin (D) {{ direction : input;\n{power}")
    found = data_slots(cell, lambda pin, level: np.zeros(2), 2)
    assert found.shape == (2, 1, 2)
    assert found[0, 0] * 1e15 == near([3.0, 2.0])
    assert (data_slots(DFF, lambda pin, level: np.zeros(1), 1) == 0).all()


def test_a_cycle_has_both_edges_of_the_clock() -> None:
    assert clock_energy_j(DFF, 10e-12) == near(4e-15)


def test_what_is_no_register_is_said() -> None:
    with pytest.raises(NetlistError, match=r"^cell INV must be a register, and is none$"):
        data_pins(small_library().cells["INV"])
    other = _changed('function : "IQ"', 'function : "D"')
    with pytest.raises(NetlistError, match=r"^pin Q of register cell DFF must be a state of the register, and is not$"):
        register_truth(other, "Q")
