"""The DVFS order: in which order the operating points of a pass run, so that transitions are fewest.

The order of every block of tiles is chosen over the whole pass by dynamic programming. `count_transitions` counts the
transitions of any schedule.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations

import numpy as np

from haloquant.records import OperatingPoint, Phase
from haloquant.records.phases import PhaseTable

PointNumbers = tuple[int, ...]  # operating points, as indices into the points in ascending order of frequency

# Best known way to end at each point: (point, transitions, summed frequency step), costs relative to the first entry.
_State = tuple[tuple[int, int, int], ...]
# For each end point of a block: the order of the block that ends there, and the end point of the block before.
_BestOrders = dict[int, tuple[PointNumbers, int]]
_NO_POINT = -1  # before the first block


def group_orders(
    groups: Sequence[tuple[PointNumbers, ...]], repeats: Sequence[int], frequency_hz: Sequence[float]
) -> list[tuple[PointNumbers, ...]]:
    """Return, for each block of each group, the order of its points that makes the fewest transitions over the pass.

    A block that is repeated runs alternately forward and backward, so it ends at the point where it began if the number
    of repetitions is even. Among orders with equally few transitions the one with the smallest sum of frequency steps
    is taken. That is the serpentine order (slow to fast, then fast to slow) where all blocks use the same points.

    The work grows with the number of different groups, not with the number of groups: a group that equals an earlier
    one and starts from an equal state has an equal answer. Equal answers are one object in memory.

    Args:
        groups: The blocks of each group; each block lists the distinct points that it uses, ascending, at least one.
        repeats: How often each block of a group runs, at least once.
        frequency_hz: Frequency of each point. Steps are summed in whole hertz, so that the sums are exact.
    """
    hertz = [round(f) for f in frequency_hz]
    block_orders: dict[PointNumbers, list[tuple[PointNumbers, int]]] = {}
    after_block: dict[tuple[PointNumbers, int, _State], tuple[_BestOrders, _State]] = {}
    after_group: dict[tuple[tuple[PointNumbers, ...], int, _State], tuple[list[_BestOrders], _State]] = {}
    trail: list[list[_BestOrders]] = []
    state: _State = ()
    for blocks, count in zip(groups, repeats, strict=True):
        key = blocks, count, state
        if key not in after_group:
            best: list[_BestOrders] = []
            for block in blocks:
                if block not in block_orders:
                    block_orders[block] = _orders(block, hertz)
                if (block, count, state) not in after_block:
                    after_block[block, count, state] = _extend(block_orders[block], count, state, hertz)
                block_best, state = after_block[block, count, state]
                best.append(block_best)
            after_group[key] = best, state
        best, state = after_group[key]
        trail.append(best)
    end = min(state, key=lambda way: way[1:])[0] if state else _NO_POINT
    traced: dict[tuple[int, int], tuple[tuple[PointNumbers, ...], int]] = {}
    chosen: list[tuple[PointNumbers, ...]] = []
    for best in reversed(trail):
        if (id(best), end) not in traced:
            traced[id(best), end] = _trace_back(best, end)
        orders, end = traced[id(best), end]
        chosen.append(orders)
    return chosen[::-1]


def _extend(
    orders: Sequence[tuple[PointNumbers, int]], count: int, state: _State, hertz: Sequence[int]
) -> tuple[_BestOrders, _State]:
    """The best order of one block for each point that it may end at, and the state after the block."""
    ends: dict[int, tuple[int, int]] = {}  # end point -> transitions, summed frequency step
    best: _BestOrders = {}
    for order, step in orders:
        start, end = order[0], order[0] if count % 2 == 0 else order[-1]
        changes, steps, origin = _cheapest_arrival(state, start, hertz)
        cost = (changes + count * (len(order) - 1), steps + count * step)
        if end not in ends or cost < ends[end]:
            ends[end], best[end] = cost, (order, origin)
    changes, steps = next(iter(ends.values()))
    return best, tuple((end, cost[0] - changes, cost[1] - steps) for end, cost in ends.items())


def _cheapest_arrival(state: _State, start: int, hertz: Sequence[int]) -> tuple[int, int, int]:
    """Transitions and summed step of the cheapest way to be at `start`, and the end point of the block before."""
    if not state:
        return 0, 0, _NO_POINT
    ways = [(changes + (end != start), steps + abs(hertz[end] - hertz[start]), end) for end, changes, steps in state]
    return min(ways, key=lambda way: way[:2])


def _trace_back(trail: Sequence[_BestOrders], end: int) -> tuple[tuple[PointNumbers, ...], int]:
    """The orders of consecutive blocks whose last one ends at `end`, and the end point of the block before them."""
    chosen: list[PointNumbers] = []
    for best in reversed(trail):
        order, end = best[end]
        chosen.append(order)
    return tuple(reversed(chosen)), end


def _orders(points: PointNumbers, hertz: Sequence[int]) -> list[tuple[PointNumbers, int]]:
    """Every order of the points with its summed frequency step, smallest sum first."""
    found = [(p, sum(abs(hertz[a] - hertz[b]) for a, b in pairwise(p))) for p in permutations(points)]
    return sorted(found, key=lambda item: item[1])


def count_transitions(phases: Sequence[Phase], row_blocks: Mapping[int, int]) -> int:
    """Return the number of changes of operating point in one pass.

    Neighbouring phases with different points make one transition. A group that is cut into blocks of rows crosses each
    change inside it once per block, because its phases run alternately forward and backward. Phases that are pinned to
    arrays of their own (islands) never make a transition.
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
    """`count_transitions` of a table; each distinct order is counted once."""
    seen: dict[int, tuple[int, int, int]] = {}  # changes inside, first level, last level
    total, last = 0, _NO_POINT
    for item in table.groups:
        level = item.order.level
        if id(item.order) not in seen:
            seen[id(item.order)] = int(np.count_nonzero(np.diff(level))), int(level[0]), int(level[-1])
        inside, first, end = seen[id(item.order)]
        count = row_blocks.get(item.group, 1)
        total += count * inside + (last not in (_NO_POINT, first))
        last = first if count % 2 == 0 else end
    return total


def by_frequency(point: OperatingPoint) -> tuple[float, float]:
    """Return the sort key of operating points: clock first, then supply."""
    return point.frequency_hz, point.voltage_v
