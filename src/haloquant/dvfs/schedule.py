"""The order in which tiles run and the clock of each: a few transitions instead of one per tile.

Layers of one dependency group (q, k and v; gate and up) read the same activations and may be interleaved; groups run
one after the other. Inside a group all tiles of one class run together, so all their partial sums are alive at once:
where the accumulators cannot hold them, the group is cut, by rows of activations (every weight is then read once per
block) or by panels of columns (no weight is read twice, as many transitions).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

import numpy as np
from jaxtyping import Int32, Int64

from haloquant.dvfs.islands import plan_islands
from haloquant.dvfs.order import PointNumbers, by_frequency, count_transitions, group_orders
from haloquant.dvfs.tile_index import TileIndex, check_fits
from haloquant.errors import InfeasibleError, InputError
from haloquant.records import Gemm, LayerTiles, OperatingPoint, Schedule
from haloquant.records.phases import GroupOrder, OrderedGroup, PhaseTable
from haloquant.units import engineering

PARTIAL_SUM_BYTES = 4


class Policy(StrEnum):
    """How tiles are ordered."""

    SERPENTINE = "serpentine"  # a whole group by class; rows cut into blocks so that the partial sums fit
    PANEL = "panel"  # column panels whose partial sums fit, each by class; no weight is read twice
    COLBLOCK = "colblock"  # one block of columns per array at a time, sorted by class inside
    ISLANDS = "islands"  # arrays pinned to one clock each: no transitions
    NONE = "none"  # one clock for all: the slowest that any tile needs


@dataclass(frozen=True)
class Levels:
    """The distinct operating points of a pass, ascending by frequency, and the number of each class's among them."""

    points: tuple[OperatingPoint, ...]
    of_class: Int64[np.ndarray, " classes"]
    base: int

    @classmethod
    def of(cls, points: Sequence[OperatingPoint], base: OperatingPoint) -> "Levels":
        """Return the levels of some classes' points and the base."""
        distinct = sorted({*points, base}, key=by_frequency)
        number = {point: i for i, point in enumerate(distinct)}
        return cls(tuple(distinct), np.array([number[point] for point in points], np.int64), number[base])


@dataclass(frozen=True)
class _Cut:
    """How a group is cut: into panels of so many columns of tiles, counted over its layers, and blocks of rows."""

    columns: int
    rows: int
    uses: tuple[PointNumbers, ...]  # the levels of each panel


def plan(
    gemms: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    policy: str = Policy.PANEL,
    accumulator_bytes: float = math.inf,
    arrays: int = 1,
) -> Schedule:
    """Return the phases of one forward pass.

    Args:
        gemms: The products of the pass, in order; groups ascend.
        layer_tiles: What is known of each quantized layer, by name. A product without an entry (attention, or a layer
            left in floating point) runs whole at `base`.
        points: Operating point of each class; `LayerTiles.classes` indexes it.
        base: The point at which every weight value meets timing.
        policy: One of `Policy`. `panel` is `serpentine` wherever the accumulators hold a whole group.
        accumulator_bytes: Bytes of 32-bit partial sums that all arrays together can hold.
        arrays: Number of arrays, which share the columns under `colblock` and are pinned under `islands`.

    Raises:
        InputError: if a tile map does not fit its layer, names a class without a point, or the policy is unknown.
        InfeasibleError: if one row of partial sums does not fit the accumulators, or islands are asked of one array.
    """
    if policy not in set(Policy):
        raise InputError(f"policy must be one of {', '.join(Policy)}, not {policy!r}.")
    if not accumulator_bytes > 0:
        raise InputError(f"accumulator_bytes must be above 0, not {accumulator_bytes:g}.")
    if arrays < 1:
        raise InputError(f"arrays must be at least 1, not {arrays}.")
    check_fits(gemms, layer_tiles, len(points))
    names = tuple(gemm.layer for gemm in gemms)
    if policy == Policy.ISLANDS:
        return Schedule(names, plan_islands(gemms, layer_tiles, points, base, arrays), 0, policy)
    index = TileIndex()
    if policy == Policy.NONE:
        slowest = _slowest(gemms, layer_tiles, points, base, index)
        points, base = [slowest] * len(points), slowest
    levels = Levels.of(points, base)
    groups: list[tuple[int, int, list[Gemm], tuple[tuple[int, ...], ...]]] = []
    row_blocks: dict[int, int] = {}
    cuts: dict[tuple[tuple[int, ...], ...], _Cut] = {}  # groups of equal sizes and tile maps are cut alike
    for group, item in groupby(enumerate(gemms), key=lambda pair: pair[1].group):
        numbered = list(item)
        members = [gemm for _, gemm in numbered]
        alike = tuple(_likeness(gemm, layer_tiles.get(gemm.layer)) for gemm in members)
        if alike not in cuts:
            cuts[alike] = _cut(group, members, layer_tiles, levels, index, policy, accumulator_bytes, arrays)
        if cuts[alike].rows > 1:
            row_blocks[group] = cuts[alike].rows
        groups.append((group, numbered[0][0], members, alike))
    repeats = [cuts[alike].rows if policy == Policy.SERPENTINE else 1 for *_, alike in groups]
    chosen = group_orders(
        [cuts[alike].uses for *_, alike in groups], repeats, [point.frequency_hz for point in levels.points]
    )
    known: dict[tuple[tuple[tuple[int, ...], ...], int], GroupOrder] = {}
    placed: list[OrderedGroup] = []
    for (group, first, members, alike), orders in zip(groups, chosen, strict=True):
        if (alike, id(orders)) not in known:
            known[alike, id(orders)] = _order(members, layer_tiles, cuts[alike].columns, orders, levels)
        placed.append(OrderedGroup(group, first, known[alike, id(orders)]))
    phases = PhaseTable(levels.points, tuple(placed))
    return Schedule(names, phases, count_transitions(phases, row_blocks), policy, row_blocks)


def _likeness(gemm: Gemm, tiles: LayerTiles | None) -> tuple[int, ...]:
    """What layers share that are cut alike: their rows, and one and the same tile map in memory."""
    return (gemm.m, gemm.n) if tiles is None else (gemm.m, gemm.n, tiles.grid.tile_out, id(tiles.classes))


def _cut(
    group: int,
    members: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    levels: Levels,
    index: TileIndex,
    policy: str,
    accumulator_bytes: float,
    arrays: int,
) -> _Cut:
    """How a group is cut, and which levels every panel uses; layers without tiles run whole with the first."""
    tiled = [(layer_tiles[g.layer], g) for g in members if g.layer in layer_tiles]
    total = sum(tiles.grid.down for tiles, _ in tiled)
    if not tiled:
        return _Cut(1, 1, ((levels.base,),))
    m = max(g.m for _, g in tiled)
    width = max(tiles.grid.tile_out for tiles, _ in tiled)
    needed = {int(levels.of_class[c]) for tiles, _ in tiled for c in index.present(tiles)}
    column_bytes = float(m * width * PARTIAL_SUM_BYTES)
    if len(needed) < 2:  # one clock: columns may finish one after the other
        columns, live = total, min(total, arrays) * column_bytes
    elif policy == Policy.SERPENTINE:
        columns, live = total, float(m * sum(g.n for _, g in tiled) * PARTIAL_SUM_BYTES)
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
    """Panel and class of every tile as one number, to count or look up with."""
    return panel[:, None] * classes + tiles.classes


def _panels(
    members: Sequence[Gemm], layer_tiles: Mapping[str, LayerTiles], columns: int
) -> Iterator[Int64[np.ndarray, " _"]]:
    """Of each layer with tiles, the panel that each of its columns of tiles belongs to."""
    first = 0
    for gemm in members:
        if gemm.layer in layer_tiles:
            down = layer_tiles[gemm.layer].grid.down
            yield np.arange(first, first + down) // columns
            first += down


def _rows(group: int, live_bytes: float, m: int, accumulator_bytes: float) -> int:
    """Blocks of rows such that one block's partial sums fit."""
    most = m if math.isinf(accumulator_bytes) else int(min(m, accumulator_bytes * m // live_bytes))
    if most < 1:
        raise InfeasibleError(
            f"accumulators must hold one row of partial sums of group {group}, {engineering(live_bytes / m, 'B')}, "
            f"not {engineering(accumulator_bytes, 'B')}; policy panel or colblock needs less."
        )
    return -(-m // most)


def _order(
    members: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    columns: int,
    orders: Sequence[PointNumbers],
    levels: Levels,
) -> GroupOrder:
    """The phases of a group whose panels run in these orders of levels."""
    level = np.concatenate([np.array(order, np.int64) for order in orders])
    number = np.full((len(orders), len(levels.points)), -1, np.int32)  # of the phase of each panel and level
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
    """The slowest point that any tile needs, of equal clocks the highest supply; what has no tiles needs the base."""
    needed = {points[c] for tiles in layer_tiles.values() for c in index.present(tiles)}
    if any(gemm.layer not in layer_tiles for gemm in gemms):
        needed.add(base)
    return min(needed, key=lambda point: (point.frequency_hz, -point.voltage_v))
