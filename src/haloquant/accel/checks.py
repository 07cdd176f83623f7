"""What a schedule must keep: every tile runs exactly once, at a clock that its slowest weight value meets."""

import itertools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float64

from haloquant.errors import InputError
from haloquant.types import LayerTiles, MacProfile, OperatingPoint, Phase, Schedule
from haloquant.units import engineering

from .target import Target
from .workload import Workload

VOLTAGE_TOLERANCE_V = 1e-3
PERIOD_TOLERANCE = 1e-9


def check_coverage(workload: Workload, layer_tiles: Mapping[str, LayerTiles], schedule: Schedule) -> None:
    """Refuse a schedule that is of another workload, or leaves out or repeats a tile or a layer.

    Raises:
        InputError: naming the first layer that is wrong.
    """
    names = tuple(gemm.layer for gemm in workload.gemms)
    if schedule.layers != names:
        raise InputError(
            f"schedule must be of workload {workload.name} with its {len(names)} products in order, "
            f"not of {len(schedule.layers)} other ones."
        )
    runs: list[list[tuple[Phase, int, int]]] = [[] for _ in names]
    whole = [0] * len(names)
    for phase in schedule.phases:
        for layer in phase.whole:
            whole[layer] += 1
        for layer, low, high in layer_ranges(phase):
            runs[layer].append((phase, low, high))
        if phase.arrays != (0, 0) and not 0 <= phase.arrays[0] < phase.arrays[1]:
            raise InputError(f"arrays of a phase must be an ascending range, not {phase.arrays}.")
    for number, gemm in enumerate(workload.gemms):
        if any(phase.group != gemm.group for phase, _, _ in runs[number]):
            raise InputError(f"tiles of {gemm.layer} must run in its dependency group, {gemm.group}.")
        tiles = layer_tiles.get(gemm.layer)
        if tiles is None or (whole[number] and not runs[number]):
            if whole[number] != 1 or runs[number]:
                raise InputError(f"{gemm.layer} must run exactly once in the schedule, not {whole[number]} times.")
            continue
        grid = tiles.grid
        if (grid.in_features, grid.out_features) != (gemm.k, gemm.n):
            raise InputError(
                f"tile map of {gemm.layer} must be of a {gemm.n} x {gemm.k} layer (out x in), "
                f"not {grid.out_features} x {grid.in_features}."
            )
        seen = np.zeros(grid.down * grid.across, np.int64)
        for phase, low, high in runs[number]:
            flat = phase.tiles[low:high, 1].astype(np.int64) * grid.across + phase.tiles[low:high, 2]
            if len(flat) and (int(flat.min()) < 0 or int(flat.max()) >= len(seen)):
                raise InputError(f"tiles of {gemm.layer} must lie within {grid.down} x {grid.across} (down x across).")
            np.add.at(seen, flat, 1)
        if whole[number] or not bool((seen == 1).all()):
            wrong = int(np.flatnonzero(seen != 1)[0]) if not bool((seen == 1).all()) else 0
            raise InputError(
                f"every tile of {gemm.layer} must run exactly once, not {int(seen[wrong]) + whole[number]} times "
                f"(tile {wrong // grid.across}, {wrong % grid.across})."
            )


def layer_ranges(phase: Phase) -> list[tuple[int, int, int]]:
    """Return (layer, first row, row after the last) of each stretch of a phase's tiles."""
    layers = phase.tiles[:, 0]
    if not len(layers):
        return []
    cuts = [0, *(np.flatnonzero(np.diff(layers)) + 1).tolist(), len(layers)]
    return [(int(layers[low]), low, high) for low, high in itertools.pairwise(cuts)]


def check_clocks(
    layer_tiles: Mapping[str, LayerTiles],
    schedule: Schedule,
    target: Target,
    profile: MacProfile,
    corner: int,
    delay_at: Callable[[float], Float64[np.ndarray, " w"]] | None,
) -> tuple[str, ...]:
    """Refuse an operating point that a tile's slowest weight value does not meet; return what could not be checked.

    Raises:
        InputError: naming the layer, its tile, the value, its delay and the clock.
    """
    points = {phase.point for phase in schedule.phases}
    delays = {point: _delays(point, target, profile, corner, delay_at) for point in points}
    slowest: dict[tuple[int, OperatingPoint], Float64[np.ndarray, "down across"]] = {}
    for phase in schedule.phases:
        delay = delays[phase.point]
        if delay is None:
            continue
        for layer, low, high in layer_ranges(phase):
            tiles = layer_tiles[schedule.layers[layer]]
            key = (id(tiles.histogram), phase.point)
            if key not in slowest:
                slowest[key] = _slowest(tiles, profile, delay)
            needed = slowest[key][phase.tiles[low:high, 1], phase.tiles[low:high, 2]]
            worst = int(needed.argmax())
            if needed[worst] > phase.point.period_s * (1 + PERIOD_TOLERANCE):
                _, down, across = phase.tiles[low + worst].tolist()
                raise InputError(
                    f"operating point of tile ({down}, {across}) of {tiles.layer} must be at most "
                    f"{engineering(1 / float(needed[worst]), 'Hz')} at {phase.point.voltage_v:g} V, "
                    f"which its slowest weight value meets, not {engineering(phase.point.frequency_hz, 'Hz')}."
                )
    unchecked = sorted((p for p, delay in delays.items() if delay is None), key=lambda p: p.frequency_hz)
    why = "its clocks are a claim" if target.array.claimed_clocks else "nobody gave the delays at that supply"
    return tuple(
        f"{engineering(p.frequency_hz, 'Hz')} at {p.voltage_v:g} V on {target.name} was not checked against profile "
        f"{profile.name}: {why}"
        for p in unchecked
    )


def _delays(
    point: OperatingPoint,
    target: Target,
    profile: MacProfile,
    corner: int,
    delay_at: Callable[[float], Float64[np.ndarray, " w"]] | None,
) -> Float64[np.ndarray, " w"] | None:
    """Delay of each weight value at a point's supply on this machine, or None where nobody knows."""
    if target.array.claimed_clocks:
        return None
    if delay_at is not None:
        return delay_at(point.voltage_v)
    if target.array.profile_voltage_v:  # the machine's volts are the profile's
        for number, known in enumerate(profile.corners):
            if abs(known.voltage_v - point.voltage_v) <= VOLTAGE_TOLERANCE_V:
                return profile.delay_s[number]
        return None
    if abs(point.voltage_v - target.base.voltage_v) <= VOLTAGE_TOLERANCE_V:
        delay = profile.delay_s[corner]
        return delay * (target.base.period_s / float(delay.max()))
    return None


def _slowest(
    tiles: LayerTiles, profile: MacProfile, delay: Float64[np.ndarray, " w"]
) -> Float64[np.ndarray, "down across"]:
    """Delay of the slowest value present in each tile; values the profile does not know are found when energy is."""
    slowest = np.zeros((tiles.grid.down, tiles.grid.across), np.float64)
    for number in range(len(tiles.values)):
        value = int(tiles.values[number])
        place = int(np.searchsorted(profile.weights, value))
        if place < len(profile.weights) and profile.weights[place] == value:
            present = tiles.histogram[:, :, number] > 0
            np.maximum(slowest, np.where(present, delay[place], 0.0), out=slowest)
    return slowest


def present_values(tiles: Iterable[LayerTiles]) -> tuple[int, ...]:
    """Return the weight values that occur at all in some layers, ascending."""
    found: set[int] = set()
    seen: set[int] = set()
    for layer in tiles:
        if id(layer.histogram) not in seen:
            seen.add(id(layer.histogram))
            occurs = np.flatnonzero(layer.histogram.any(axis=(0, 1)))
            found.update(int(value) for value in layer.values[occurs])
    return tuple(sorted(found))
