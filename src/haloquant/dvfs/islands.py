"""Static islands: every array keeps one clock for good, so nothing ever switches.

An array may run any tile whose class allows at least the array's clock. Classes are therefore nested (what may run on
a fast island may run on a slow one too), and the least time of a group that is spread over the islands is the largest,
over the slowest k kinds of tiles, of (their number) / (rate of the islands that may run them).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np

from haloquant.dvfs.tile_index import TileIndex
from haloquant.errors import InfeasibleError
from haloquant.records import Gemm, LayerTiles, OperatingPoint, Phase, TileRun


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
    work: list[tuple[int, dict[OperatingPoint, list[TileRun]], list[int]]] = []
    for group, item in groupby(enumerate(gemms), key=lambda pair: pair[1].group):
        tiles: dict[OperatingPoint, list[TileRun]] = {}
        whole: list[int] = []
        for layer, gemm in item:
            if gemm.layer not in layer_tiles:
                whole.append(layer)
                continue
            for number, places in index.by_class(layer_tiles[gemm.layer]).items():
                tiles.setdefault(points[number], []).append(TileRun(layer, places))
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
    loads = np.array([[_count(tiles.get(p, ())) for p in levels] for _, tiles, _ in work], np.float64)
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
    tiles: Mapping[OperatingPoint, Sequence[TileRun]],
    whole: Sequence[int],
    levels: Sequence[OperatingPoint],
    sizes: Sequence[int],
) -> list[Phase]:
    """Spread a group's tiles: each island takes its own class, slower islands with time left take faster tiles too."""
    queue = [list(tiles.get(point, ())) for point in levels]
    counts = np.array([_count(part) for part in queue], np.float64)
    rates = np.array([n * p.frequency_hz for n, p in zip(sizes, levels, strict=True)])
    finish = float((np.cumsum(counts) / np.cumsum(rates)).max())
    phases: list[Phase] = []
    first = 0
    for level, point in enumerate(levels):
        taken = queue[level]  # own class has no faster island to go to
        room = round(float(finish * rates[level])) - _count(taken)
        for faster in range(level + 1, len(levels)):
            some, queue[faster] = _split(queue[faster], max(0, room))
            taken = taken + some
            room -= _count(some)
        run_whole = tuple(whole) if level == 0 else ()
        if taken or run_whole:
            phases.append(Phase(group, point, tuple(taken), run_whole, (first, first + sizes[level])))
        first += sizes[level]
    return phases


def _count(runs: Sequence[TileRun]) -> int:
    """Tiles in some runs."""
    return sum(len(run.places) for run in runs)


def _split(runs: Sequence[TileRun], tiles: int) -> tuple[list[TileRun], list[TileRun]]:
    """The first so many tiles of some runs, and the rest."""
    head: list[TileRun] = []
    tail: list[TileRun] = []
    for run in runs:
        take = min(tiles, len(run.places))
        tiles -= take
        if take:
            head.append(TileRun(run.layer, run.places[:take]))
        if take < len(run.places):
            tail.append(TileRun(run.layer, run.places[take:]))
    return head, tail
