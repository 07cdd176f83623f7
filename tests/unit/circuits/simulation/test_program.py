"""Constant folding of single gates, and nodes that weights share."""

import numpy as np

from haloquant.circuits.simulation.program import Node, fold_constants
from haloquant.circuits.simulation.waveforms import NEVER

AND, XOR = 0b1000, 0b0110
SUPPORT = [0, 0, 0b01, 0b10]  # the constants, and two nodes that depend on one activation bit each


def _fold(sources: tuple[int, int], truth: int, hidden: float = 0.0, equal: bool = False) -> Node:
    """A gate of two pins; the delay of pin p that leads to minterm m is 10 p + m + 1, or always 1."""
    delay = np.ones(8, np.int32) if equal else np.array([1, 2, 3, 4, 11, 12, 13, 14], np.int32)
    energy = delay * 1e-15
    chosen = np.array(sources, np.int32)
    return fold_constants(7, chosen, truth, delay, energy, np.full(8, hidden), SUPPORT)


def test_a_gate_without_constants_stays() -> None:
    node = _fold((2, 3), AND)
    assert (node.gate, node.inputs, node.truth, node.support) == (7, (2, 3), AND, 0b11)
    assert node.delay_fs.tolist() == [[1, 2, 3, 4], [11, 12, 13, 14]]


def test_an_and_with_a_constant_1_is_a_buffer_with_the_delays_of_those_minterms() -> None:
    """Pin 1 is high in the minterms 2 and 3."""
    node = _fold((2, 1), AND)
    assert (node.inputs, node.truth, node.support) == ((2,), 0b10, 0b01)
    assert node.delay_fs.tolist() == [[3, 4]]
    np.testing.assert_allclose(node.internal_j, [[3e-15, 4e-15]])


def test_an_exclusive_or_with_a_constant_is_a_buffer_or_an_inverter() -> None:
    """Pin 0 is low in the minterms 0 and 2, and high in 1 and 3."""
    assert (_fold((0, 3), XOR).truth, _fold((0, 3), XOR).delay_fs.tolist()) == (0b10, [[11, 13]])
    assert (_fold((1, 3), XOR).truth, _fold((1, 3), XOR).delay_fs.tolist()) == (0b01, [[12, 14]])


def test_a_gate_of_constants_is_a_constant() -> None:
    assert [(_fold(pins, AND).inputs, _fold(pins, AND).truth) for pins in ((0, 1), (1, 1))] == [((), 0), ((), 1)]


def test_a_pin_that_cannot_move_the_output_stays_only_for_its_own_energy() -> None:
    """An AND with a constant 0: the other pin moves nothing."""
    assert _fold((2, 0), AND).inputs == ()
    costly = _fold((2, 0), AND, hidden=2e-16)
    assert (costly.inputs, costly.truth) == ((2,), 0)
    np.testing.assert_allclose(costly.hidden_j, [[2e-16, 2e-16]])


def test_a_pin_that_only_changes_a_delay_stays_and_never_delays_by_itself() -> None:
    """The output follows pin 1; the level of pin 0 decides how fast, unless the delays are equal."""
    follows = 0b1100
    node = _fold((2, 3), follows)
    assert (node.inputs, node.truth) == ((2, 3), follows)
    assert node.delay_fs[1].tolist() == [11, 12, 13, 14]
    assert node.delay_fs[0].tolist() == [NEVER] * 4
    assert _fold((2, 3), follows, equal=True).inputs == (3,)
