"""Which operating point comes first: the least number of transitions over a whole pass, by dynamic programming."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise, permutations

from haloquant.types import OperatingPoint, Phase

Order = tuple[OperatingPoint, ...]


@lru_cache(maxsize=256)
def _orders(points: Order) -> tuple[tuple[Order, float], ...]:
    """Every order of some points with the sum of its frequency steps, the tie-breaker: small steps first."""
    found = [
        (p, sum((abs(a.frequency_hz - b.frequency_hz) for a, b in pairwise(p)), 0.0)) for p in permutations(points)
    ]
    return tuple(sorted(found, key=lambda item: item[1]))


def class_orders(blocks: Sequence[Order], repeats: Sequence[int]) -> list[Order]:
    """Return the order of each block's points that makes the fewest transitions over all blocks.

    A block that is repeated runs forth and back, so it ends where it began if the number of repetitions is even. Among
    orders with equally few transitions the one with the smallest total step of frequency is taken, which is the
    serpentine order (slow to fast, then fast to slow) where all blocks use the same points.

    Args:
        blocks: The distinct points that each block uses, at least one.
        repeats: How often each block is gone through, at least once.
    """
    best: dict[OperatingPoint, tuple[int, float]] = {}  # end point -> transitions, sum of steps
    trail: list[dict[OperatingPoint, tuple[Order, OperatingPoint | None]]] = []
    for points, count in zip(blocks, repeats, strict=True):
        ends: dict[OperatingPoint, tuple[int, float]] = {}
        came: dict[OperatingPoint, tuple[Order, OperatingPoint | None]] = {}
        for order, step in _orders(tuple(sorted(set(points), key=_key))):
            start, end = order[0], order[0] if count % 2 == 0 else order[-1]
            inside = count * (len(order) - 1)
            before, origin = _arrive(best, start)
            cost = (before[0] + inside, before[1] + count * step)
            if end not in ends or cost < ends[end]:
                ends[end], came[end] = cost, (order, origin)
        best = ends
        trail.append(came)
    chosen: list[Order] = []
    end = min(best, key=lambda point: best[point]) if best else None
    for came in reversed(trail):
        if end is None:
            break
        order, end = came[end]
        chosen.append(order)
    return chosen[::-1]


def _arrive(
    best: Mapping[OperatingPoint, tuple[int, float]], start: OperatingPoint
) -> tuple[tuple[int, float], OperatingPoint | None]:
    """The cheapest way to be at `start`, and the end point of the block before it."""
    if not best:
        return (0, 0.0), None
    ways = [
        ((cost[0] + (end != start), cost[1] + abs(end.frequency_hz - start.frequency_hz)), end)
        for end, cost in best.items()
    ]
    return min(ways, key=lambda way: way[0])


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
