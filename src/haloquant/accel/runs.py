"""A schedule's tiles by phase and layer, and the check that every one of them runs exactly once."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from haloquant.accel.workload import Workload
from haloquant.errors import InputError
from haloquant.types import LayerTiles, Phase, Schedule


@dataclass(frozen=True, slots=True)
class Run:
    """Tiles of one layer that stand together in one phase, as down * across of the grid + across."""

    layer: int
    flat: Int64[np.ndarray, " n"]


def phase_runs(
    workload: Workload, layer_tiles: Mapping[str, LayerTiles], schedule: Schedule
) -> list[tuple[Phase, tuple[Run, ...]]]:
    """Return every phase with its tiles, after checking that the schedule covers the workload.

    Raises:
        InputError: if the schedule is of another workload, or leaves out or repeats a tile or a layer.
    """
    names = tuple(gemm.layer for gemm in workload.gemms)
    if schedule.layers != names:
        raise InputError(
            f"schedule must be of workload {workload.name} with its {len(names)} products in order, "
            f"not of {len(schedule.layers)} other ones."
        )
    found = [(phase, _runs(phase, workload, layer_tiles)) for phase in schedule.phases]
    parts: list[list[Int64[np.ndarray, " _"]]] = [[] for _ in names]
    whole = [0] * len(names)
    for phase, runs in found:
        if phase.arrays != (0, 0) and not 0 <= phase.arrays[0] < phase.arrays[1]:
            raise InputError(f"arrays of a phase must be an ascending range, not {phase.arrays}.")
        for layer in phase.whole:
            whole[layer] += 1
        for run in runs:
            parts[run.layer].append(run.flat)
    for number, gemm in enumerate(workload.gemms):
        _check_layer(gemm.layer, layer_tiles.get(gemm.layer), parts[number], whole[number])
    return found


def _runs(phase: Phase, workload: Workload, layer_tiles: Mapping[str, LayerTiles]) -> tuple[Run, ...]:
    """Split a phase where the layer changes."""
    if not len(phase.tiles):
        return ()
    layers = np.ascontiguousarray(phase.tiles[:, 0])
    cuts = [0, *(np.flatnonzero(layers[1:] != layers[:-1]) + 1).tolist(), len(layers)]
    runs: list[Run] = []
    for low, high in itertools.pairwise(cuts):
        gemm = workload.gemms[int(layers[low])]
        tiles = layer_tiles.get(gemm.layer)
        if tiles is None:
            raise InputError(f"{gemm.layer} must run whole, for it has no tile map; the schedule lists tiles of it.")
        if phase.group != gemm.group:
            raise InputError(f"tiles of {gemm.layer} must run in its dependency group, {gemm.group}.")
        grid, down, across = tiles.grid, phase.tiles[low:high, 1], phase.tiles[low:high, 2]
        if (grid.in_features, grid.out_features) != (gemm.k, gemm.n):
            raise InputError(
                f"tile map of {gemm.layer} must be of a {gemm.n} x {gemm.k} layer (out x in), "
                f"not {grid.out_features} x {grid.in_features}."
            )
        flat = np.multiply(down, grid.across, dtype=np.int64) + across
        # the column first: a tile too far to the right would else be taken for one of the next row
        if (
            int(across.min()) < 0
            or int(across.max()) >= grid.across
            or int(flat.min()) < 0
            or int(down.max()) >= grid.down
        ):
            raise InputError(f"tiles of {gemm.layer} must lie within {grid.down} x {grid.across} (down x across).")
        runs.append(Run(int(layers[low]), flat))
    return tuple(runs)


def _check_layer(layer: str, tiles: LayerTiles | None, parts: Sequence[Int64[np.ndarray, " _"]], whole: int) -> None:
    """Refuse a layer that does not run exactly once."""
    if tiles is None or (whole and not parts):
        if whole != 1:
            raise InputError(f"{layer} must run exactly once in the schedule, not {whole} times.")
        return
    count = tiles.grid.down * tiles.grid.across
    seen = np.bincount(np.concatenate(parts), minlength=count) if parts else np.zeros(count, np.int64)
    wrong = np.flatnonzero(seen != 1)
    if whole or len(wrong):
        tile = int(wrong[0]) if len(wrong) else 0
        raise InputError(
            f"every tile of {layer} must run exactly once, not {int(seen[tile]) + whole} times "
            f"(tile {tile // tiles.grid.across}, {tile % tiles.grid.across})."
        )
