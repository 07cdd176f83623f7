"""Orders of operating points with the fewest transitions."""

import pytest

from haloquant.dvfs.order import count_transitions
from haloquant.dvfs.reference.exhaustive_order import fewest_transitions
from haloquant.errors import InputError
from haloquant.records import Phase
from support.accel_cases import BASE, MIDDLE, TOP
from support.schedules import block_orders

POINTS = (BASE, MIDDLE, TOP)


def test_serpentine_turns_round() -> None:
    orders = block_orders([POINTS, POINTS, POINTS], [1, 1, 1])
    assert orders in ([POINTS, POINTS[::-1], POINTS], [POINTS[::-1], POINTS, POINTS[::-1]])


def test_a_group_gone_through_twice_ends_where_it_began() -> None:
    orders = block_orders([(BASE, TOP), (TOP,)], [2, 1])
    assert orders == [(TOP, BASE), (TOP,)]


def test_a_class_in_the_middle_may_come_first() -> None:
    # going up or down from the middle would cross it twice
    groups = [(MIDDLE,), (BASE, MIDDLE, TOP), (TOP,)]
    assert block_orders(groups, [1, 1, 1]) == [(MIDDLE,), (MIDDLE, BASE, TOP), (TOP,)]
    assert fewest_transitions(groups) == 2


def test_too_many_orders_to_try_are_refused() -> None:
    with pytest.raises(InputError, match=r"^orders to try must be at most 2000000, not 3628800; use fewer tiles$"):
        fewest_transitions([[BASE] * 10])


def test_transitions_of_phases_by_hand() -> None:
    phases = [Phase(0, BASE, ()), Phase(0, TOP, ()), Phase(1, TOP, ()), Phase(2, MIDDLE, (), (), (0, 1))]
    assert count_transitions(phases, {}) == 1
    # three blocks of rows cross the change three times and end at the fast point; two end at the slow one
    assert count_transitions(phases, {0: 3}) == 3
    assert count_transitions(phases, {0: 2}) == 2 + 1
