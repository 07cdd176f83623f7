"""Which operating point comes first: the least number of transitions over a whole pass, by dynamic programming."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations

import numpy as np

from haloquant.records import OperatingPoint, Phase
from haloquant.records.phases import PhaseTable

Order = tuple[OperatingPoint, ...]
Numbers = tuple[int, ...]  # points by their place in ascending order of frequency

_State = tuple[tuple[int, int, int], ...]  # (end point, transitions, sum of steps), as found; the first counts from 0
_Came = dict[int, tuple[Numbers, int]]  # end point -> order of the block, end point of the block before
_NOWHERE = -1


def class_orders(blocks: Sequence[Order], repeats: Sequence[int]) -> list[Order]:
    """Return the order of each block's points that makes the fewest transitions over all blocks.

    A block that is repeated runs forth and back, so it ends where it began if the number of repetitions is even. Among
    orders with equally few transitions the one with the smallest total step of frequency is taken, which is the
    serpentine order (slow to fast, then fast to slow) where all blocks use the same points.

    Args:
        blocks: The distinct points that each block uses, at least one.
        repeats: How often each block is gone through, at least once.
    """
    points = sorted({point for block in set(blocks) for point in block}, key=by_frequency)
    number = {point: i for i, point in enumerate(points)}
    numbered = [(tuple(sorted(number[point] for point in block)),) for block in blocks]
    chosen = group_orders(numbered, repeats, [point.frequency_hz for point in points])
    return [tuple(points[i] for i in order) for (order,) in chosen]


def group_orders(
    groups: Sequence[tuple[Numbers, ...]], repeats: Sequence[int], frequency_hz: Sequence[float]
) -> list[tuple[Numbers, ...]]:
    """Return `class_orders` for blocks that stand in groups: one tuple of orders per group.

    What a group does to the transitions so far depends only on where they may end and by how much they differ, so a
    group like an earlier one is gone through once. Equal answers are one object in memory.

    Args:
        groups: The blocks of each group, and of each block the points it uses, ascending.
        repeats: How often each block of a group is gone through.
        frequency_hz: Of each point. Steps are summed in whole hertz, so that sums are exact.
    """
    hertz = [round(f) for f in frequency_hz]
    tried: dict[Numbers, list[tuple[Numbers, int]]] = {}
    taken: dict[tuple[Numbers, int, _State], tuple[_Came, _State]] = {}
    walked: dict[tuple[tuple[Numbers, ...], int, _State], tuple[list[_Came], _State]] = {}
    trail: list[list[_Came]] = []
    state: _State = ()
    for blocks, count in zip(groups, repeats, strict=True):
        key = blocks, count, state
        if key not in walked:
            came: list[_Came] = []
            for block in blocks:
                if block not in tried:
                    tried[block] = _orders(block, hertz)
                if (block, count, state) not in taken:
                    taken[block, count, state] = _through(tried[block], count, state, hertz)
                made, state = taken[block, count, state]
                came.append(made)
            walked[key] = came, state
        came, state = walked[key]
        trail.append(came)
    end = min(state, key=lambda way: way[1:])[0] if state else _NOWHERE
    back: dict[tuple[int, int], tuple[tuple[Numbers, ...], int]] = {}
    chosen: list[tuple[Numbers, ...]] = []
    for came in reversed(trail):
        if (id(came), end) not in back:
            back[id(came), end] = _backwards(came, end)
        orders, end = back[id(came), end]
        chosen.append(orders)
    return chosen[::-1]


def _through(
    tried: Sequence[tuple[Numbers, int]], count: int, state: _State, hertz: Sequence[int]
) -> tuple[_Came, _State]:
    """The best way through one block to each point it may end at, given the best ways to get there."""
    ends: dict[int, tuple[int, int]] = {}  # end point -> transitions, sum of steps
    came: _Came = {}
    for order, step in tried:
        start, end = order[0], order[0] if count % 2 == 0 else order[-1]
        changes, steps, origin = _arrive(state, start, hertz)
        cost = (changes + count * (len(order) - 1), steps + count * step)
        if end not in ends or cost < ends[end]:
            ends[end], came[end] = cost, (order, origin)
    changes, steps = next(iter(ends.values()))
    return came, tuple((end, cost[0] - changes, cost[1] - steps) for end, cost in ends.items())


def _arrive(state: _State, start: int, hertz: Sequence[int]) -> tuple[int, int, int]:
    """The cheapest way to be at `start`: transitions, sum of steps, and the end point of the block before it."""
    if not state:
        return 0, 0, _NOWHERE
    ways = [(changes + (end != start), steps + abs(hertz[end] - hertz[start]), end) for end, changes, steps in state]
    return min(ways, key=lambda way: way[:2])


def _backwards(trail: Sequence[_Came], end: int) -> tuple[tuple[Numbers, ...], int]:
    """The orders of some blocks that end at `end`, and the end point of what came before them."""
    chosen: list[Numbers] = []
    for came in reversed(trail):
        order, end = came[end]
        chosen.append(order)
    return tuple(reversed(chosen)), end


def _orders(points: Numbers, hertz: Sequence[int]) -> list[tuple[Numbers, int]]:
    """Every order of some points with the sum of its frequency steps, the tie-breaker: small steps first."""
    found = [(p, sum(abs(hertz[a] - hertz[b]) for a, b in pairwise(p))) for p in permutations(points)]
    return sorted(found, key=lambda item: item[1])


def count_transitions(phases: Sequence[Phase], row_blocks: Mapping[int, int]) -> int:
    """Return the changes of operating point of one pass: neighbours that differ, and the way back and forth in blocks.

    Phases that run at the same time on arrays of their own (islands) change nothing.
    """
    if isinstance(phases, PhaseTable):
        return _count_table(phases, row_blocks)
    total = 0
    last: OperatingPoint | None = None
    index = 0
    while index < len(phases):
        group = phases[index].group
        stop = index
        while stop < len(phases) and phases[stop].group == group:
            stop += 1
        members = [p.point for p in phases[index:stop] if p.arrays == (0, 0)]
        index = stop
        if not members:
            continue
        inside = sum(a != b for a, b in pairwise(members))
        count = row_blocks.get(group, 1)
        total += count * inside + (last is not None and last != members[0])
        last = members[0] if count % 2 == 0 else members[-1]
    return total


def _count_table(table: PhaseTable, row_blocks: Mapping[int, int]) -> int:
    """The same, each order looked at once."""
    seen: dict[int, tuple[int, int, int]] = {}  # changes inside, first level, last level
    total, last = 0, _NOWHERE
    for item in table.groups:
        level = item.order.level
        if id(item.order) not in seen:
            seen[id(item.order)] = int(np.count_nonzero(np.diff(level))), int(level[0]), int(level[-1])
        inside, first, end = seen[id(item.order)]
        count = row_blocks.get(item.group, 1)
        total += count * inside + (last not in (_NOWHERE, first))
        last = first if count % 2 == 0 else end
    return total


def by_frequency(point: OperatingPoint) -> tuple[float, float]:
    """The order of points: by clock, then by supply."""
    return point.frequency_hz, point.voltage_v
