"""Which operating point comes first: the least number of transitions over a whole pass, by dynamic programming."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, permutations

from haloquant.types import OperatingPoint, Phase

Order = tuple[OperatingPoint, ...]
_Numbers = tuple[int, ...]  # points by their place in ascending order of frequency
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
    points = sorted({point for block in set(blocks) for point in block}, key=_key)
    number = {point: i for i, point in enumerate(points)}
    frequency_hz = [point.frequency_hz for point in points]
    tried = {block: _orders(sorted({number[point] for point in block}), frequency_hz) for block in set(blocks)}
    best: dict[int, tuple[int, float]] = {}  # end point -> transitions, sum of steps
    trail: list[dict[int, tuple[_Numbers, int]]] = []
    for block, count in zip(blocks, repeats, strict=True):
        ends: dict[int, tuple[int, float]] = {}
        came: dict[int, tuple[_Numbers, int]] = {}
        for order, step in tried[block]:
            start, end = order[0], order[0] if count % 2 == 0 else order[-1]
            changes, steps, origin = _arrive(best, start, frequency_hz)
            cost = (changes + count * (len(order) - 1), steps + count * step)
            if end not in ends or cost < ends[end]:
                ends[end], came[end] = cost, (order, origin)
        best = ends
        trail.append(came)
    chosen: list[_Numbers] = []
    end = min(best, key=lambda point: best[point]) if best else _NOWHERE
    for came in reversed(trail):
        order, end = came[end]
        chosen.append(order)
    named = {order: tuple(points[i] for i in order) for order in set(chosen)}
    return [named[order] for order in reversed(chosen)]


def _orders(points: Sequence[int], frequency_hz: Sequence[float]) -> list[tuple[_Numbers, float]]:
    """Every order of some points with the sum of its frequency steps, the tie-breaker: small steps first."""
    found = [
        (p, sum((abs(frequency_hz[a] - frequency_hz[b]) for a, b in pairwise(p)), 0.0)) for p in permutations(points)
    ]
    return sorted(found, key=lambda item: item[1])


def _arrive(best: Mapping[int, tuple[int, float]], start: int, frequency_hz: Sequence[float]) -> tuple[int, float, int]:
    """The cheapest way to be at `start`: transitions, sum of steps, and the end point of the block before it."""
    if not best:
        return 0, 0.0, _NOWHERE
    ways = [
        (changes + (end != start), steps + abs(frequency_hz[end] - frequency_hz[start]), end)
        for end, (changes, steps) in best.items()
    ]
    return min(ways, key=lambda way: way[:2])


def count_transitions(phases: Sequence[Phase], row_blocks: Mapping[int, int]) -> int:
    """Return the changes of operating point of one pass: neighbours that differ, and the way back and forth in blocks.

    Phases that run at the same time on arrays of their own (islands) change nothing.
    """
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


def _key(point: OperatingPoint) -> tuple[float, float]:
    return point.frequency_hz, point.voltage_v
