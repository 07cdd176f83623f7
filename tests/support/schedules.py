"""Schedules at other operating points, and orders of a few blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from haloquant.dvfs.order import by_frequency, count_transitions, group_orders
from haloquant.records import OperatingPoint, Schedule
from haloquant.records.phases import PhaseTable


def block_orders(
    blocks: Sequence[tuple[OperatingPoint, ...]], repeats: Sequence[int]
) -> list[tuple[OperatingPoint, ...]]:
    """`group_orders` for groups of one block each, with points instead of numbers."""
    points = sorted({point for block in set(blocks) for point in block}, key=by_frequency)
    number = {point: i for i, point in enumerate(points)}
    numbered = [(tuple(sorted(number[point] for point in block)),) for block in blocks]
    chosen = group_orders(numbered, repeats, [point.frequency_hz for point in points])
    return [tuple(points[i] for i in order) for (order,) in chosen]


def repoint(schedule: Schedule, points: Mapping[OperatingPoint, OperatingPoint]) -> Schedule:
    """Return the same order of tiles at other operating points; points that are not named stay.

    Transitions are counted anew: two classes that now share a point no longer switch.
    """
    phases = schedule.phases
    if isinstance(phases, PhaseTable):
        moved = _repoint(phases, points)
    else:
        moved = tuple(replace(phase, point=points.get(phase.point, phase.point)) for phase in phases)
    return replace(schedule, phases=moved, transitions=count_transitions(moved, schedule.row_blocks))


def _repoint(table: PhaseTable, points: Mapping[OperatingPoint, OperatingPoint]) -> PhaseTable:
    """The same table at other points, equal ones made one."""
    moved = [points.get(point, point) for point in table.points]
    distinct = tuple(dict.fromkeys(moved))
    number = np.array([distinct.index(point) for point in moved], np.int64)
    orders = {id(item.order): item.order for item in table.groups}
    made = {key: replace(order, level=number[order.level]) for key, order in orders.items()}
    return PhaseTable(distinct, tuple(replace(item, order=made[id(item.order)]) for item in table.groups))
