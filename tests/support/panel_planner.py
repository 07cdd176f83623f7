"""A slow planner to compare `dvfs.schedule` with: panel by panel and tile by tile, over all orders of each panel."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise, permutations

import numpy as np

from haloquant.dvfs.schedule import Policy
from haloquant.records import Gemm, LayerTiles, OperatingPoint, Phase, TileRun

_Panel = dict[OperatingPoint, tuple[dict[int, list[tuple[int, int]]], list[int]]]  # tiles by layer, whole layers


def panel_phases(
    gemms: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    policy: str,
    accumulator_bytes: float,
    arrays: int,
    row_blocks: Mapping[int, int],
) -> tuple[Phase, ...]:
    """Every phase of a pass as a list, for every policy but islands."""
    if policy == Policy.NONE:
        used = {points[c] for t in layer_tiles.values() for c in np.unique(t.classes)}
        used |= {base for gemm in gemms if gemm.layer not in layer_tiles}
        base = min(used, key=lambda point: (point.frequency_hz, -point.voltage_v))
        points = [base] * len(points)
    panels: list[tuple[int, _Panel]] = []
    for group, item in groupby(enumerate(gemms), key=lambda pair: pair[1].group):
        members = list(item)
        step = _columns([g for _, g in members], layer_tiles, points, policy, accumulator_bytes, arrays)
        made: dict[int, _Panel] = {}
        first = 0
        for layer, gemm in members:
            tiles = layer_tiles.get(gemm.layer)
            if tiles is None:
                made.setdefault(0, {}).setdefault(base, ({}, []))[1].append(layer)
                continue
            for (down, across), number in np.ndenumerate(tiles.classes):
                panel = made.setdefault((first + down) // step, {})
                panel.setdefault(points[number], ({}, []))[0].setdefault(layer, []).append((down, across))
            first += tiles.grid.down
        panels += [(group, made[number]) for number in sorted(made)]
    repeats = [row_blocks.get(group, 1) if policy == Policy.SERPENTINE else 1 for group, _ in panels]
    orders = _orders([list(panel) for _, panel in panels], repeats)
    phases: list[Phase] = []
    for (group, panel), order in zip(panels, orders, strict=True):
        for point in order:
            by_layer, whole = panel[point]
            runs = tuple(TileRun(layer, np.array(places, np.int32)) for layer, places in by_layer.items())
            phases.append(Phase(group, point, runs, tuple(whole)))
    return tuple(phases)


def _columns(
    members: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    policy: str,
    accumulator_bytes: float,
    arrays: int,
) -> int:
    """Columns of tiles per panel: as many as the accumulators hold, or one per array."""
    tiled = [(g, layer_tiles[g.layer]) for g in members if g.layer in layer_tiles]
    everything = sum(t.grid.down for _, t in tiled) or 1
    clocks = {points[c] for _, t in tiled for c in np.unique(t.classes)}
    if len(clocks) < 2 or policy == Policy.SERPENTINE:
        return everything
    if policy == Policy.COLBLOCK:
        return min(arrays, everything)
    fit = accumulator_bytes / (4 * max(g.m for g, _ in tiled) * max(t.grid.tile_out for _, t in tiled))
    return everything if math.isinf(fit) else max(1, min(everything, math.floor(fit)))


def _orders(panels: Sequence[Sequence[OperatingPoint]], repeats: Sequence[int]) -> list[tuple[OperatingPoint, ...]]:
    """The order of each panel's points with the fewest transitions, then the least sum of steps, over all panels."""
    ways: dict[OperatingPoint | None, tuple[int, int, list[tuple[OperatingPoint, ...]]]] = {None: (0, 0, [])}
    for points, count in zip(panels, repeats, strict=True):
        ascending = sorted(points, key=lambda p: (p.frequency_hz, p.voltage_v))
        ends: dict[OperatingPoint | None, tuple[int, int, list[tuple[OperatingPoint, ...]]]] = {}
        for order in sorted(permutations(ascending), key=lambda o: sum(_step(a, b) for a, b in pairwise(o))):
            inside, steps = len(order) - 1, sum(_step(a, b) for a, b in pairwise(order))
            start, end = order[0], order[0] if count % 2 == 0 else order[-1]
            came = [
                (changes + (at not in (None, start)), sum_ + (_step(at, start) if at else 0), path)
                for at, (changes, sum_, path) in ways.items()
            ]
            changes, sum_, path = min(came, key=lambda way: way[:2])
            cost = (changes + count * inside, sum_ + count * steps)
            if end not in ends or cost < ends[end][:2]:
                ends[end] = (*cost, [*path, order])
        ways = ends
    return min(ways.values(), key=lambda way: way[:2])[2]


def _step(a: OperatingPoint, b: OperatingPoint) -> int:
    return abs(round(a.frequency_hz) - round(b.frequency_hz))
