"""The order in which tiles run and the clock of each: a few transitions instead of one per tile.

Layers of one dependency group (q, k and v; gate and up) read the same activations and may be interleaved; groups run
one after the other. Inside a group all tiles of one class run together, so all their partial sums are alive at once:
where the accumulators cannot hold them, the group is cut, by rows of activations (every weight is then read once per
block) or by panels of columns (no weight is read twice, as many transitions).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from haloquant.errors import InfeasibleError, InputError
from haloquant.types import Gemm, LayerTiles, OperatingPoint, Phase, Schedule, TileRun
from haloquant.units import engineering

from .islands import plan_islands
from .order import class_orders, count_transitions
from .tiles import TileIndex, check_fits

PARTIAL_SUM_BYTES = 4


class Policy(StrEnum):
    """How tiles are ordered."""

    SERPENTINE = "serpentine"  # a whole group by class; rows cut into blocks so that the partial sums fit
    PANEL = "panel"  # column panels whose partial sums fit, each by class; no weight is read twice
    COLBLOCK = "colblock"  # one block of columns per array at a time, sorted by class inside
    ISLANDS = "islands"  # arrays pinned to one clock each: no transitions
    NONE = "none"  # one clock for all: the slowest that any tile needs


@dataclass(frozen=True)
class _Work:
    """What runs at one point in one block; layers are numbered from the first of their group."""

    layer_class: int
    runs: tuple[TileRun, ...]
    whole: tuple[int, ...]


_Block = dict[OperatingPoint, _Work]
_Cut = tuple[list[_Block], int]  # blocks of one group, and into how many blocks of rows it is cut


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
    numbers: list[int] = []
    firsts: list[int] = []
    blocks: list[_Block] = []
    row_blocks: dict[int, int] = {}
    known: dict[tuple[tuple[int, ...], ...], _Cut] = {}  # groups of equal sizes and tile maps are cut alike
    for group, item in groupby(enumerate(gemms), key=lambda pair: pair[1].group):
        numbered = list(item)
        members = [gemm for _, gemm in numbered]
        alike = tuple(_likeness(gemm, layer_tiles.get(gemm.layer)) for gemm in members)
        if alike not in known:
            panels, rows = _cut(group, members, layer_tiles, points, index, policy, accumulator_bytes, arrays)
            known[alike] = [_block(members, panel, layer_tiles, points, base, index) for panel in panels], rows
        made, rows = known[alike]
        if rows > 1:
            row_blocks[group] = rows
        blocks += made
        numbers += [group] * len(made)
        firsts += [numbered[0][0]] * len(made)
    repeats = [row_blocks.get(number, 1) if policy == Policy.SERPENTINE else 1 for number in numbers]
    orders = class_orders([tuple(block) for block in blocks], repeats)
    phases = tuple(
        _phase(number, first, point, block[point])
        for number, first, block, order in zip(numbers, firsts, blocks, orders, strict=True)
        for point in order
    )
    return Schedule(names, phases, count_transitions(phases, row_blocks), policy, row_blocks)


def _likeness(gemm: Gemm, tiles: LayerTiles | None) -> tuple[int, ...]:
    """What layers share that are cut alike: their rows, and one and the same tile map in memory."""
    return (gemm.m, gemm.n) if tiles is None else (gemm.m, gemm.n, tiles.grid.tile_out, id(tiles.classes))


def _phase(group: int, first: int, point: OperatingPoint, work: _Work) -> Phase:
    """A block's work at one point, as a phase of the group whose layers begin at `first`."""
    runs = tuple(TileRun(first + run.layer, run.places) for run in work.runs)
    return Phase(group, point, work.layer_class, runs, tuple(first + layer for layer in work.whole))


_Panel = tuple[int, int]  # half-open range of blocks of columns, counted over the group's layers one after the other


def _cut(
    group: int,
    members: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    index: TileIndex,
    policy: str,
    accumulator_bytes: float,
    arrays: int,
) -> tuple[list[_Panel], int]:
    """How a group is cut: panels of columns, and blocks of rows."""
    tiled = [(layer_tiles[g.layer], g) for g in members if g.layer in layer_tiles]
    total = sum(tiles.grid.down for tiles, _ in tiled)
    if not tiled:
        return [(0, 0)], 1
    m = max(g.m for _, g in tiled)
    width = max(tiles.grid.tile_out for tiles, _ in tiled)
    needed = {points[c] for tiles, _ in tiled for c in index.by_class(tiles)}
    column_bytes = float(m * width * PARTIAL_SUM_BYTES)
    if len(needed) < 2:  # one clock: columns may finish one after the other
        return [(0, total)], _rows(group, min(total, arrays) * column_bytes, m, accumulator_bytes)
    if policy == Policy.SERPENTINE:
        live = float(m * sum(g.n for _, g in tiled) * PARTIAL_SUM_BYTES)
        return [(0, total)], _rows(group, live, m, accumulator_bytes)
    fit = total if math.isinf(accumulator_bytes) else int(min(total, accumulator_bytes // column_bytes))
    step = min(arrays, total) if policy == Policy.COLBLOCK else max(1, fit)
    panels = [(start, min(start + step, total)) for start in range(0, total, step)]
    return panels, _rows(group, step * column_bytes, m, accumulator_bytes)


def _rows(group: int, live_bytes: float, m: int, accumulator_bytes: float) -> int:
    """Blocks of rows such that one block's partial sums fit."""
    most = m if math.isinf(accumulator_bytes) else int(min(m, accumulator_bytes * m // live_bytes))
    if most < 1:
        raise InfeasibleError(
            f"accumulators must hold one row of partial sums of group {group}, {engineering(live_bytes / m, 'B')}, "
            f"not {engineering(accumulator_bytes, 'B')}; policy panel or colblock needs less."
        )
    return -(-m // most)


def _block(
    members: Sequence[Gemm],
    panel: _Panel,
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    index: TileIndex,
) -> _Block:
    """Collect the tiles of one panel by operating point; layers without tiles run whole with the first panel."""
    classes: dict[OperatingPoint, int] = {}
    runs: dict[OperatingPoint, list[TileRun]] = {}
    whole: dict[OperatingPoint, list[int]] = {}
    first = 0
    for layer, gemm in enumerate(members):
        known = layer_tiles.get(gemm.layer)
        if known is None:
            if panel[0] == 0:
                whole.setdefault(base, []).append(layer)
            continue
        low, high = max(panel[0] - first, 0), min(panel[1] - first, known.grid.down)
        first += known.grid.down
        if low >= high:
            continue
        for number, places in index.in_rows(known, low, high).items():
            if len(places):
                classes.setdefault(points[number], number)
                runs.setdefault(points[number], []).append(TileRun(layer, places))
    return {
        point: _Work(classes.get(point, 0), tuple(runs.get(point, ())), tuple(whole.get(point, ())))
        for point in {**runs, **whole}
    }


def _slowest(
    gemms: Sequence[Gemm],
    layer_tiles: Mapping[str, LayerTiles],
    points: Sequence[OperatingPoint],
    base: OperatingPoint,
    index: TileIndex,
) -> OperatingPoint:
    """The slowest point that any tile needs; products without tiles need the base."""
    needed = {points[c] for tiles in layer_tiles.values() for c in index.by_class(tiles)}
    if any(gemm.layer not in layer_tiles for gemm in gemms):
        needed.add(base)
    return min(needed, key=lambda point: point.frequency_hz)


def repoint(schedule: Schedule, points: Mapping[OperatingPoint, OperatingPoint]) -> Schedule:
    """Return the same order of tiles at other operating points; points that are not named stay.

    Transitions are counted anew: two classes that now share a point no longer switch.
    """
    phases = tuple(replace(phase, point=points.get(phase.point, phase.point)) for phase in schedule.phases)
    return replace(schedule, phases=phases, transitions=count_transitions(phases, schedule.row_blocks))
