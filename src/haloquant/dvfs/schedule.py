"""The schedule of a pass: the order in which tiles run, and the clock of each, with few transitions.

Layers of one dependency group (q, k and v; gate and up) read the same activations and may be interleaved. Groups run
one after the other. Inside a group all tiles of one class run together, so all its partial sums are stored at once.
If the accumulators cannot hold them, the group is divided in one of two ways. With blocks of rows of activations, each
weight is read once per block. With panels of columns, each weight is read once, with about as many transitions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
from jaxtyping import Int32, Int64

from haloquant.dvfs.order import PointNumbers, by_frequency, count_transitions, group_orders
from haloquant.dvfs.static_islands import plan_islands
from haloquant.dvfs.tile_index import TileIndex, check_fits
from haloquant.errors import InfeasibleError, InputError
from haloquant.records import Gemm, LayerTiles, OperatingPoint, Schedule
from haloquant.records.phases import GroupOrder, OrderedGroup, PhaseTable
from haloquant.units import engineering

_PARTIAL_SUM_BYTES = 4


class Policy(StrEnum):
    """How tiles are ordered."""

    SERPENTINE = "serpentine"  # a whole group by class, cut into blocks of rows so that the partial sums fit
    PANEL = "panel"  # panels of columns whose partial sums fit, each by class; each weight is read once
    COLBLOCK = "colblock"  # one block of columns per array at a time, sorted by class inside
    ISLANDS = "islands"  # each array has one fixed clock: no transitions
    NONE = "none"  # one clock for all: the slowest that any tile needs


@dataclass(frozen=True)
class _Levels:
    """The distinct operating points of a pass, ascending by frequency, and the index of each class's and the base's."""

    points: tuple[OperatingPoint, ...]
    of_class: Int64[np.ndarray, " classes"]
    base: int

    @classmethod
    def of(cls, points: Sequence[OperatingPoint], base: OperatingPoint) -> "_Levels":
        """Return the levels of the classes' points and the base point."""
        distinct = sorted({*points, base}, key=by_frequency)
        number = {point: i for i, point in enumerate(distinct)}
        return cls(tuple(distinct), np.array([number[point] for point in points], np.int64), number[base])


@dataclass(frozen=True)
class _Cut:
    """How a group is cut: columns of tiles per panel, counted over its layers, and the number of row blocks, `rows`."""

    columns: int
    rows: int
    uses: tuple[PointNumbers, ...]  # the levels that each panel uses


def plan(
    gemms: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    policy: str = Policy.PANEL,
    accumulator_bytes: float = math.inf,
    arrays: int = 1,
) -> Schedule:
    """Return the schedule of one forward pass.

    Args:
        gemms: The matrix products of the pass in order; their groups ascend.
        layer_tiles: The tiles of each quantized layer, by name. A product without an entry (attention, or a layer that
            is left in floating point) runs whole at `base`.
        points: Operating point of each class, indexed by `LayerTiles.classes`.
        base: The point at which every weight value meets timing.
        policy: One of `Policy`. `panel` equals `serpentine` wherever the accumulators hold a whole group.
        accumulator_bytes: Bytes of 32-bit partial sums that all arrays together can hold.
        arrays: Number of arrays. They share the columns under `colblock` and have fixed clocks under `islands`.

    Raises:
        InputError: A tile map does not fit its layer or names a class without a point, or the policy is unknown.
        InfeasibleError: One row of partial sums does not fit the accumulators, or there are fewer arrays than islands.
    """
    if policy not in set(Policy):
        raise InputError(f"policy must be one of {', '.join(Policy)}, not {policy!r}")
    if not accumulator_bytes > 0:
        raise InputError(f"accumulator_bytes must be above 0, not {accumulator_bytes:g}")
    if arrays < 1:
        raise InputError(f"arrays must be at least 1, not {arrays}")
    check_fits(gemms, layer_tiles, len(points))
    names = tuple(gemm.layer for gemm in gemms)
    if policy == Policy.ISLANDS:
        return Schedule(names, plan_islands(gemms, layer_tiles, points, base, arrays), 0, policy)
    index = TileIndex()
    if policy == Policy.NONE:
        slowest = _slowest(gemms, layer_tiles, points, base, index)
        points, base = [slowest] * len(points), slowest
    levels = _Levels.of(points, base)
    groups: list[tuple[int, int, list[Gemm], tuple[tuple[int, ...], ...]]] = []
    row_blocks: dict[int, int] = {}
    cuts: dict[tuple[tuple[int, ...], ...], _Cut] = {}  # by the sizes and tile maps of a group
    for group, item in groupby(enumerate(gemms), key=lambda pair: pair[1].group):
        numbered = list(item)
        members = [gemm for _, gemm in numbered]
        key = tuple(_cut_key(gemm, layer_tiles.get(gemm.layer)) for gemm in members)
        if key not in cuts:
            cuts[key] = _cut(group, members, layer_tiles, levels, index, policy, accumulator_bytes, arrays)
        if cuts[key].rows > 1:
            row_blocks[group] = cuts[key].rows
        groups.append((group, numbered[0][0], members, key))
    repeats = [cuts[key].rows if policy == Policy.SERPENTINE else 1 for *_, key in groups]
    chosen = group_orders(
        [cuts[key].uses for *_, key in groups], repeats, [point.frequency_hz for point in levels.points]
    )
    known: dict[tuple[tuple[tuple[int, ...], ...], int], GroupOrder] = {}
    placed: list[OrderedGroup] = []
    for (group, first, members, key), orders in zip(groups, chosen, strict=True):
        if (key, id(orders)) not in known:
            known[key, id(orders)] = _order(members, layer_tiles, cuts[key].columns, orders, levels)
        placed.append(OrderedGroup(group, first, known[key, id(orders)]))
    phases = PhaseTable(levels.points, tuple(placed))
    return Schedule(names, phases, count_transitions(phases, row_blocks), policy, row_blocks)


def _cut_key(gemm: Gemm, tiles: LayerTiles | None) -> tuple[int, ...]:
    """Everything that the cut of a layer depends on. Two layers are equal only if they share the tile map in memory."""
    return (gemm.m, gemm.n) if tiles is None else (gemm.m, gemm.n, tiles.grid.tile_out, id(tiles.classes))


def _cut(
    group: int,
    members: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    levels: _Levels,
    index: TileIndex,
    policy: str,
    accumulator_bytes: float,
    arrays: int,
) -> _Cut:
    """The cut of a group. Layers without tiles run whole in the first panel."""
    tiled = [(layer_tiles[g.layer], g) for g in members if g.layer in layer_tiles]
    total = sum(tiles.grid.down for tiles, _ in tiled)
    if not tiled:
        return _Cut(1, 1, ((levels.base,),))
    m = max(g.m for _, g in tiled)
    width = max(tiles.grid.tile_out for tiles, _ in tiled)
    needed = {int(levels.of_class[c]) for tiles, _ in tiled for c in index.present(tiles)}
    column_bytes = float(m * width * _PARTIAL_SUM_BYTES)
    if len(needed) < 2:  # with one clock, columns may finish one after the other
        columns, live = total, min(total, arrays) * column_bytes
    elif policy == Policy.SERPENTINE:
        columns, live = total, float(m * sum(g.n for _, g in tiled) * _PARTIAL_SUM_BYTES)
    else:
        fit = total if math.isinf(accumulator_bytes) else int(min(total, accumulator_bytes // column_bytes))
        columns = min(arrays, total) if policy == Policy.COLBLOCK else max(1, fit)
        live = columns * column_bytes
    classes = len(levels.of_class)
    present = np.zeros((-(-total // columns), classes), np.bool_)
    for (tiles, _), panel in zip(tiled, _panels(members, layer_tiles, columns), strict=True):
        counts = np.bincount(_by_panel(panel, tiles, classes).ravel(), minlength=present.size)
        present |= counts.reshape(present.shape) > 0
    named: dict[bytes, PointNumbers] = {}
    uses: list[PointNumbers] = []
    for number, row in enumerate(present):
        whole = number == 0 and len(tiled) < len(members)
        key = row.tobytes() + bytes([whole])
        if key not in named:
            named[key] = tuple(sorted({*levels.of_class[row].tolist(), *([levels.base] if whole else [])}))
        uses.append(named[key])
    return _Cut(columns, _rows(group, live, m, accumulator_bytes), tuple(uses))


def _by_panel(panel: Int64[np.ndarray, " down"], tiles: LayerTiles, classes: int) -> Int64[np.ndarray, "down across"]:
    """Panel * classes + class of every tile: one number to count and to index with."""
    return panel[:, None] * classes + tiles.classes


def _panels(
    members: Sequence[Gemm], layer_tiles: Mapping[str, LayerTiles], columns: int
) -> Iterator[Int64[np.ndarray, " _"]]:
    """For each layer with tiles, the panel of each of its columns of tiles."""
    first = 0
    for gemm in members:
        if gemm.layer in layer_tiles:
            down = layer_tiles[gemm.layer].grid.down
            yield np.arange(first, first + down) // columns
            first += down


def _rows(group: int, live_bytes: float, m: int, accumulator_bytes: float) -> int:
    """The number of row blocks with which the partial sums of one block fit the accumulators."""
    most = m if math.isinf(accumulator_bytes) else int(min(m, accumulator_bytes * m // live_bytes))
    if most < 1:
        raise InfeasibleError(
            f"accumulators must hold one row of partial sums of group {group} ({engineering(live_bytes / m, 'B')}), "
            f"and they hold {engineering(accumulator_bytes, 'B')}; policy panel or colblock needs less"
        )
    return -(-m // most)


def _order(
    members: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    columns: int,
    orders: Sequence[PointNumbers],
    levels: _Levels,
) -> GroupOrder:
    """The phases of a group, given the order of levels in each of its panels."""
    level = np.concatenate([np.array(order, np.int64) for order in orders])
    number = np.full((len(orders), len(levels.points)), -1, np.int32)  # the phase of each panel and level
    number[np.repeat(np.arange(len(orders)), [len(order) for order in orders]), level] = np.arange(len(level))
    of_class = number[:, levels.of_class].ravel()
    panels = _panels(members, layer_tiles, columns)
    phase_of: list[Int32[np.ndarray, "_ _"] | None] = []
    for gemm in members:
        tiles = layer_tiles.get(gemm.layer)
        phase_of.append(None if tiles is None else of_class.take(_by_panel(next(panels), tiles, len(levels.of_class))))
    whole = [int(number[0, levels.base]) if places is None else -1 for places in phase_of]
    return GroupOrder(level, tuple(phase_of), tuple(whole))


def _slowest(
    gemms: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    index: TileIndex,
) -> OperatingPoint:
    """The slowest point that any tile needs, of equal clocks the highest supply. Layers without tiles need `base`."""
    needed = {points[c] for tiles in layer_tiles.values() for c in index.present(tiles)}
    if any(gemm.layer not in layer_tiles for gemm in gemms):
        needed.add(base)
    return min(needed, key=lambda point: (point.frequency_hz, -point.voltage_v))
