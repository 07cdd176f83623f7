"""Checks that a schedule runs every tile of a workload exactly once, and its tiles by phase and layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Int64

from haloquant.accel.workload.prefill_decode import Workload
from haloquant.errors import InputError
from haloquant.records import LayerTiles, Phase, Schedule, TileGrid
from haloquant.records.phases import GroupOrder, PhaseTable


@dataclass(frozen=True, slots=True)
class FlatTileRun:
    """Tiles of one layer in one phase, as flat indices: down * (tiles across) + across.

    Layers with equal tile maps share the array `flat`.
    """

    layer: int
    flat: Int64[np.ndarray, " n"]


_Flats = dict[tuple[int, int, int], Int64[np.ndarray, " n"]]


def check_names(workload: Workload, schedule: Schedule) -> None:
    """Refuse a schedule of another workload.

    Raises:
        InputError: The schedule's layers are not the workload's.
    """
    names = tuple(gemm.layer for gemm in workload.gemms)
    if schedule.layers != names:
        raise InputError(
            f"schedule must list the {len(names)} products of workload {workload.name} in order, "
            f"and it lists {len(schedule.layers)} others"
        )


def covers_workload(table: PhaseTable, workload: Workload, layer_tiles: Mapping[str, LayerTiles]) -> bool:
    """Return whether a table runs every tile of every layer exactly once.

    This check is fast but does not say what is wrong; `phase_runs` does. Orders that several groups share are checked
    once.
    """
    counted: dict[tuple[object, ...], bool] = {}
    layer, last = 0, None
    for item in table.groups:
        members = workload.gemms[layer : layer + len(item.order.whole)]
        if item.first != layer or item.group == last or len(members) != len(item.order.whole):
            return False
        if any(gemm.group != item.group for gemm in members):
            return False
        known = [layer_tiles.get(gemm.layer) for gemm in members]
        for gemm, tiles in zip(members, known, strict=True):
            if tiles is not None and (tiles.grid.in_features, tiles.grid.out_features) != (gemm.k, gemm.n):
                return False
        sizes = [(0, 0) if tiles is None else (tiles.grid.down, tiles.grid.across) for tiles in known]
        key = (id(item.order), *sizes)
        if key not in counted:
            counted[key] = _fits(item.order, known)
        if not counted[key]:
            return False
        layer, last = layer + len(members), item.group
    return layer == len(workload.gemms)


def _fits(order: GroupOrder, known: Sequence[LayerTiles | None]) -> bool:
    """Whether an order gives every tile of a group's layers a phase and leaves no phase empty."""
    phases = len(order.level)
    busy = np.zeros(phases, np.bool_)
    for tiles, phase_of, whole in zip(known, order.phase_of, order.whole, strict=True):
        if tiles is None or phase_of is None:
            if tiles is not None or phase_of is not None or not 0 <= whole < phases:
                return False
            busy[whole] = True
            continue
        inside = phase_of.shape == (tiles.grid.down, tiles.grid.across) and int(phase_of.min()) >= 0
        if not inside or int(phase_of.max()) >= phases or whole != -1:
            return False
        busy |= np.bincount(phase_of.ravel(), minlength=phases) > 0
    return bool(busy.all())


def phase_runs(
    workload: Workload, layer_tiles: Mapping[str, LayerTiles], schedule: Schedule
) -> list[tuple[Phase, tuple[FlatTileRun, ...]]]:
    """Return every phase with its tiles, after checking that the schedule covers the workload.

    Lists of tiles that several layers share in memory are checked once.

    Raises:
        InputError: The schedule is of another workload, or leaves out or repeats a tile or a layer.
    """
    check_names(workload, schedule)
    names = schedule.layers
    flats: _Flats = {}
    found = [(phase, _runs(phase, workload, layer_tiles, flats)) for phase in schedule.phases]
    parts: list[list[Int64[np.ndarray, " _"]]] = [[] for _ in names]
    whole = [0] * len(names)
    for phase, runs in found:
        if phase.arrays != (0, 0) and not 0 <= phase.arrays[0] < phase.arrays[1]:
            raise InputError(f"arrays of a phase must be an ascending range, not {phase.arrays}")
        for layer in phase.whole:
            whole[layer] += 1
        for run in runs:
            parts[run.layer].append(run.flat)
    covered: set[tuple[int, ...]] = set()
    for number, gemm in enumerate(workload.gemms):
        tiles = layer_tiles.get(gemm.layer)
        count = 0 if tiles is None else tiles.grid.down * tiles.grid.across
        key = (count, whole[number], *map(id, parts[number]))
        if key not in covered:
            _check_layer(gemm.layer, tiles, parts[number], whole[number])
            covered.add(key)
    return found


def _runs(
    phase: Phase, workload: Workload, layer_tiles: Mapping[str, LayerTiles], flats: _Flats
) -> tuple[FlatTileRun, ...]:
    """The tiles of a phase as flat indices. Each list of places is converted once."""
    runs: list[FlatTileRun] = []
    for run in phase.runs:
        if not len(run.places):
            continue
        gemm = workload.gemms[run.layer]
        tiles = layer_tiles.get(gemm.layer)
        if tiles is None:
            raise InputError(
                f"{gemm.layer} must run as a whole because it has no tile map, but the schedule lists tiles of it"
            )
        if phase.group != gemm.group:
            raise InputError(f"tiles of {gemm.layer} must run in its dependency group, {gemm.group}")
        grid = tiles.grid
        if (grid.in_features, grid.out_features) != (gemm.k, gemm.n):
            raise InputError(
                f"tile map of {gemm.layer} must be of a {gemm.n} x {gemm.k} layer (out x in), "
                f"not {grid.out_features} x {grid.in_features}"
            )
        key = (id(run.places), grid.down, grid.across)
        if key not in flats:
            flats[key] = _flat(gemm.layer, grid, run.places)
        runs.append(FlatTileRun(run.layer, flats[key]))
    return tuple(runs)


def _flat(layer: str, grid: TileGrid, places: Int32[np.ndarray, "n 2"]) -> Int64[np.ndarray, " n"]:
    """Flat indices of tiles in a grid."""
    down, across = places[:, 0], places[:, 1]
    if not bool(((down >= 0) & (down < grid.down) & (across >= 0) & (across < grid.across)).all()):
        raise InputError(f"tiles of {layer} must lie within {grid.down} x {grid.across} (down x across)")
    return np.multiply(down, grid.across, dtype=np.int64) + across


def _check_layer(layer: str, tiles: LayerTiles | None, parts: Sequence[Int64[np.ndarray, " _"]], whole: int) -> None:
    """Refuse a layer that does not run exactly once."""
    if tiles is None or (whole and not parts):
        if whole != 1:
            raise InputError(f"{layer} must run exactly once in the schedule, not {whole} times")
        return
    count = tiles.grid.down * tiles.grid.across
    seen = np.bincount(np.concatenate(parts), minlength=count) if parts else np.zeros(count, np.int64)
    wrong = np.flatnonzero(seen != 1)
    if whole or len(wrong):
        tile = int(wrong[0]) if len(wrong) else 0
        raise InputError(
            f"every tile of {layer} must run exactly once, not {int(seen[tile]) + whole} times "
            f"(tile {tile // tiles.grid.across}, {tile % tiles.grid.across})"
        )
