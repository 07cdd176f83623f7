"""Static voltage-frequency islands: every array keeps one clock, so there are no transitions.

An array may run any tile whose class allows at least the array's clock. So a tile that may run on a fast island may run
on every slower one too. The least time of a group is therefore the maximum over k of (number of tiles of the k slowest
classes) / (summed rate of the k slowest islands).
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
    """Return phases whose ranges of arrays are disjoint inside a group. Products without tiles run on the base island.

    The number of arrays per island is chosen so that the sum of the groups' least times is smallest.

    Raises:
        InfeasibleError: There are fewer arrays than operating points in use.
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
            f"islands need at least one array for each of the {len(levels)} operating points in use, not {arrays}; "
            "choose policy serpentine or none"
        )
    loads = np.array([[_count(tiles.get(p, ())) for p in levels] for _, tiles, _ in work], np.float64)
    sizes = min(_compositions(arrays, len(levels)), key=lambda parts: _time(loads, parts, levels))
    return tuple(phase for group, tiles, whole in work for phase in _share(group, tiles, whole, levels, sizes))


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to write `total` as an ordered sum of `parts` positive numbers."""
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _time(loads: np.ndarray, sizes: Sequence[int], levels: Sequence[OperatingPoint]) -> float:
    """The sum over groups of the least time, in tiles / Hz."""
    rates = np.cumsum([n * p.frequency_hz for n, p in zip(sizes, levels, strict=True)])
    return float((np.cumsum(loads, axis=1) / rates).max(axis=1).sum())


def _share(
    group: int,
    tiles: Mapping[OperatingPoint, Sequence[TileRun]],
    whole: Sequence[int],
    levels: Sequence[OperatingPoint],
    sizes: Sequence[int],
) -> list[Phase]:
    """One phase per island: it runs the tiles of its own class and, if time is left, tiles of faster classes."""
    queue = [list(tiles.get(point, ())) for point in levels]
    counts = np.array([_count(part) for part in queue], np.float64)
    rates = np.array([n * p.frequency_hz for n, p in zip(sizes, levels, strict=True)])
    finish = float((np.cumsum(counts) / np.cumsum(rates)).max())
    phases: list[Phase] = []
    first = 0
    for level, point in enumerate(levels):
        taken = queue[level]  # tiles of this class cannot run on a faster island
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
    """Number of tiles in some runs."""
    return sum(len(run.places) for run in runs)


def _split(runs: Sequence[TileRun], tiles: int) -> tuple[list[TileRun], list[TileRun]]:
    """The first `tiles` tiles of some runs, and the others."""
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
