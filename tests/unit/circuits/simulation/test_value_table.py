"""Delays and energies of circuits small enough to be worked out by hand, and the sentences of refusals."""

import numpy as np
import pytest

from haloquant.circuits.netlist.parser import parse_netlist
from haloquant.circuits.ports import MacPorts
from haloquant.circuits.simulation.stimuli import Stimuli, activation_stimuli
from haloquant.circuits.simulation.value_table import PERCENTILES, simulate_values, weighted_percentiles
from haloquant.circuits.timing.conditions import Conditions
from haloquant.errors import NetlistError
from support.circuits import Wiring, multiplier, small_library
from support.near import near
from support.transitions import transition_index

ONE_BIT = np.array([-1, 0], np.int16)  # weight pin at 1, at 0


def chain():
    """result = !(weight & activation): AND2 drives INV drives the port."""
    wiring = Wiring()
    weight, activation = wiring.net(), wiring.net()
    both = wiring.gate("AND2", A=weight, B=activation)
    result = wiring.gate("INV", A=both)
    text = wiring.text(weight=("input", [weight]), activation=("input", [activation]), result=("output", [result]))
    ports = MacPorts(partial=None, weight_bits=1, activation_bits=1, result_bits=1)
    return parse_netlist(text, small_library(), ports)


def test_a_two_gate_chain_is_what_the_tables_say():
    """Worked out by hand. Input slew 20 ps, load at the port 4 fF, 1 V; the inverter's pin has 1 fF.

    AND2 pin B (to 1 fF): rise 36 + 0.3*20 + 2000*0.001 = 44 ps, fall 29 + 0.25*20 + 1500*0.001 = 35.5 ps;
    its slews: rise 10 + 0.1*20 + 3000*0.001 = 15 ps, fall 8 + 2 + 2.5 = 12.5 ps.
    INV (to 4 fF): its fall follows the AND2's rise: 7 + 0.25*15 + 1500*0.004 = 16.75 ps; its rise follows the fall:
    11 + 0.3*12.5 + 2000*0.004 = 22.75 ps. So activation up: 60.75 ps, down: 58.25 ps.

    Energy: the library's unit is 1 pF V^2 = 1 pJ.
    Up: AND2 rises 3 fJ + 0.01*20 fJ = 3.2 fJ (pJ/ns * ns), pin B rises 0.2 fJ, 1/2 * 1 fF * (1 V)^2 = 0.5 fJ;
    INV falls 2 fJ, its pin A rises 0.1 fJ, 1/2 * 4 fF = 2 fJ. Down: AND2 falls 6 fJ, pin B falls 0.4 fJ, 0.5 fJ;
    INV rises 1 fJ + 0.01*12.5 fJ = 1.125 fJ, its pin falls 0.2 fJ, 2 fJ.
    Two of the four transitions do nothing, so the mean is a quarter of up plus down.
    """
    conditions = Conditions(input_slew_s=20e-12, output_load_f=4e-15)
    found = simulate_values(chain(), small_library(), ONE_BIT, conditions=conditions)
    assert found.delay_s[0] == near(60.75e-12, abs=2e-15)
    np.testing.assert_allclose(found.percentile_s[:, 0], [0, 60.75e-12, 60.75e-12, 60.75e-12], atol=2e-15)
    internal_fj = (3.2 + 0.2 + 2.0 + 0.1) + (6.0 + 0.4 + 1.125 + 0.2)
    assert found.internal_j[0, 0] == near(internal_fj / 4 * 1e-15, rel=1e-9)
    assert found.switching_j[0, 0] == near(2 * 2.5 / 4 * 1e-15, rel=1e-9)
    assert found.toggles[0, 0] == near(1.0)  # four edges in four transitions
    assert found.input_j[0] == near(0.5 * 2e-15 / 2)  # pin B has 2 fF, it moves every other time


def test_a_weight_that_blocks_leaves_only_the_pins_own_energy():
    found = simulate_values(chain(), small_library(), ONE_BIT)
    assert found.delay_s[1] == 0
    assert found.toggles[0, 1] == 0
    assert found.switching_j[0, 1] == 0
    assert found.internal_j[0, 1] == near((0.2 + 0.4) / 4 * 1e-15)


def test_distributions_reweigh_the_same_transitions():
    netlist = chain()
    only_up = np.zeros(4)
    only_up[transition_index(np.array([0], np.int16), np.array([-1], np.int16), 1)] = 7
    stimuli = activation_stimuli(1, up=only_up)
    conditions = Conditions(input_slew_s=20e-12, output_load_f=4e-15)
    found = simulate_values(netlist, small_library(), ONE_BIT, stimuli, conditions)
    assert found.distributions == ("uniform", "up")
    assert found.toggles[1, 0] == near(2)
    assert found.energy_j[1, 0] == near((3.2 + 0.2 + 2.0 + 0.1 + 2.5) * 1e-15)


def test_a_draw_of_transitions_is_that_part_of_the_exhaustive_table():
    netlist = multiplier(3)
    drawn = np.array([3, 17, 40, 41, 60], np.int32)
    only = np.zeros(64)
    only[drawn] = 1
    few = Stimuli(3, drawn, np.full((1, 5), 0.2), ("drawn",))
    part = simulate_values(netlist, small_library(), stimuli=few)
    whole = simulate_values(netlist, small_library(), stimuli=activation_stimuli(3, drawn=only))
    np.testing.assert_allclose(part.energy_j[0], whole.energy_j[1], rtol=1e-12)
    np.testing.assert_allclose(part.toggles[0], whole.toggles[1], rtol=1e-12)
    assert np.all(part.delay_s <= whole.delay_s)


def test_a_register_launches_after_the_clock_and_captures_with_setup():
    netlist = multiplier(2, partial=True, pipelined=True)
    conditions = Conditions(clock_slew_s=10e-12)
    found = simulate_values(netlist, small_library(), conditions=conditions)
    assert found.clock_j == near(4 * 4e-15)  # four registers, 3 fJ up and 1 fJ down
    np.testing.assert_array_equal(found.energy_j, found.switching_j + found.internal_j + found.clock_j)
    product = simulate_values(multiplier(2), small_library())
    assert np.all(found.delay_s[found.weights != 0] >= product.delay_s[found.weights != 0])


def test_progress_counts_weights():
    seen: list[tuple[int, int]] = []
    simulate_values(multiplier(2), small_library(), progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_percentiles_are_the_least_values_not_exceeded():
    values = np.array([30, 10, 20, 40], np.int32)
    probability = np.array([0.2, 0.5, 0.2995, 0.0005])
    assert PERCENTILES == (50.0, 90.0, 99.0, 99.9)
    np.testing.assert_array_equal(weighted_percentiles(values, probability), [10, 30, 30, 30])


def test_stimuli_without_partial_sums_are_refused_where_the_mac_adds_one():
    with pytest.raises(NetlistError, match=r"stimuli for netlist mac must have partial sums, because it adds one"):
        simulate_values(multiplier(2, partial=True), small_library(), stimuli=activation_stimuli(2))


def test_stimuli_of_another_width_are_refused():
    with pytest.raises(NetlistError, match=r"stimuli for netlist mac must have 2 activation bits, not 3"):
        simulate_values(multiplier(2), small_library(), stimuli=activation_stimuli(3))
