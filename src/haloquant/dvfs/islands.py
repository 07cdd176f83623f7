"""Static islands: every array keeps one clock for good, so nothing ever switches.

An array may run any tile whose class allows at least the array's clock. Classes are therefore nested (what may run on
a fast island may run on a slow one too), and the least time of a group that is spread over the islands is the largest,
over the slowest k kinds of tiles, of (their number) / (rate of the islands that may run them).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Int32

from haloquant.errors import InfeasibleError
from haloquant.types import Gemm, LayerTiles, OperatingPoint, Phase

from .tiles import TileIndex, indexed, joined


def plan_islands(
    gemms: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    arrays: int,
) -> tuple[Phase, ...]:
    """Return phases whose `arrays` ranges are disjoint inside a group; products without tiles run on the base island.

    The number of arrays per island is the one that makes the sum of the groups' least times smallest.

    Raises:
        InfeasibleError: if there are fewer arrays than operating points to pin them to.
    """
    index = TileIndex()
    work: list[tuple[int, dict[OperatingPoint, list[Int32[np.ndarray, "_ 3"]]], list[int]]] = []
    for group, item in groupby(enumerate(gemms), key=lambda pair: pair[1].group):
        tiles: dict[OperatingPoint, list[Int32[np.ndarray, "_ 3"]]] = {}
        whole: list[int] = []
        for layer, gemm in item:
            if gemm.layer not in layer_tiles:
                whole.append(layer)
                continue
            for number, places in index.by_class(layer_tiles[gemm.layer]).items():
                tiles.setdefault(points[number], []).append(indexed(layer, places))
        work.append((group, tiles, whole))
    needed = {point for _, tiles, _ in work for point in tiles}
    if any(whole for _, _, whole in work):
        needed.add(base)
    levels = sorted(needed, key=lambda point: point.frequency_hz)
    if arrays < len(levels):
        raise InfeasibleError(
            f"islands need at least one array per operating point in use, {len(levels)}, not {arrays}; "
            "policy serpentine or none would do."
        )
    loads = np.array([[sum(map(len, tiles.get(p, []))) for p in levels] for _, tiles, _ in work], np.float64)
    sizes = min(_compositions(arrays, len(levels)), key=lambda parts: _time(loads, parts, levels))
    return tuple(phase for group, tiles, whole in work for phase in _share(group, tiles, whole, levels, sizes))


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to write `total` as a sum of `parts` positive numbers, in order."""
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _time(loads: np.ndarray, sizes: Sequence[int], levels: Sequence[OperatingPoint]) -> float:
    """The sum over groups of the least time, in tiles per hertz."""
    rates = np.cumsum([n * p.frequency_hz for n, p in zip(sizes, levels, strict=True)])
    return float((np.cumsum(loads, axis=1) / rates).max(axis=1).sum())


def _share(
    group: int,
    tiles: Mapping[OperatingPoint, Sequence[Int32[np.ndarray, "_ 3"]]],
    whole: Sequence[int],
    levels: Sequence[OperatingPoint],
    sizes: Sequence[int],
) -> list[Phase]:
    """Spread a group's tiles: each island takes its own class, slower islands with time left take faster tiles too."""
    own = [joined(list(tiles.get(point, ()))) for point in levels]
    counts = np.array([len(part) for part in own], np.float64)
    rates = np.array([n * p.frequency_hz for n, p in zip(sizes, levels, strict=True)])
    finish = float((np.cumsum(counts) / np.cumsum(rates)).max())
    queue = [part for part in own]
    phases: list[Phase] = []
    first = 0
    for level, point in enumerate(levels):
        room = round(float(finish * rates[level]))
        taken: list[Int32[np.ndarray, "_ 3"]] = [queue[level]]  # own class has no faster island to go to
        room -= len(queue[level])
        for faster in range(level + 1, len(levels)):
            take = max(0, min(room, len(queue[faster])))
            if take:
                taken.append(queue[faster][:take])
                queue[faster] = queue[faster][take:]
                room -= take
        run_whole = tuple(whole) if level == 0 else ()
        merged = joined([part for part in taken if len(part)])
        if len(merged) or run_whole:
            phases.append(Phase(group, point, level, merged, run_whole, (first, first + sizes[level])))
        first += sizes[level]
    return phases
