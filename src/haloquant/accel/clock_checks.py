"""Check that every tile of a schedule runs at a clock that its slowest weight value meets."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from haloquant.accel.cost_model.schedule_coverage import FlatTileRun
from haloquant.accel.target import Target
from haloquant.dvfs.operating_points import rows_of
from haloquant.errors import InputError
from haloquant.records import LayerTiles, MacProfile, OperatingPoint, Phase
from haloquant.records.phases import PhaseTable
from haloquant.units import engineering

_VOLTAGE_TOLERANCE_V = 1e-3
_PERIOD_TOLERANCE = 1e-9  # relative

# Delay in s of each of the profile's weight values, by operating point; None where it is not known.
Delays = Mapping[OperatingPoint, Float64[np.ndarray, " w"] | None]


def point_delays(
    points: Iterable[OperatingPoint],
    target: Target,
    profile: MacProfile,
    corner: int,
    delay_at: Callable[[float], Float64[np.ndarray, " w"]] | None,
) -> Delays:
    """Return the delay in s of each weight value at each point's supply on this machine; None where it is not known.

    Points with the same supply share one array.
    """
    by_supply: dict[float, Float64[np.ndarray, " w"] | None] = {}
    for point in points:
        if point.voltage_v not in by_supply:
            by_supply[point.voltage_v] = _delays_at(point, target, profile, corner, delay_at)
    return {point: by_supply[point.voltage_v] for point in points}


def clocks_are_met(
    table: PhaseTable,
    layers: Sequence[str],
    layer_tiles: Mapping[str, LayerTiles],
    delays: Delays,
    profile: MacProfile,
) -> bool:
    """Return whether every tile's slowest weight value meets its clock.

    This check is fast but does not say what is wrong; `check_clocks` does.
    """
    slowest: dict[tuple[int, int], Float64[np.ndarray, " level"]] = {}  # by (id of the histogram, id of the order)
    for item in table.groups:
        for layer, phase_of in enumerate(item.order.phase_of, item.first):
            tiles = layer_tiles.get(layers[layer])
            if tiles is None or phase_of is None:
                continue
            key = (id(tiles.histogram), id(phase_of))
            if key not in slowest:
                present = _values_at(tiles, item.order.level[phase_of], len(table.points))
                slowest[key] = np.array(
                    [
                        _slowest_of(tiles, row, profile, delays.get(p))
                        for row, p in zip(present, table.points, strict=True)
                    ]
                )
    period_s = np.array([point.period_s for point in table.points]) * (1 + _PERIOD_TOLERANCE)
    return all(bool((needed <= period_s).all()) for needed in slowest.values())


def _values_at(tiles: LayerTiles, level: Int64[np.ndarray, "down across"], levels: int) -> Bool[np.ndarray, "level v"]:
    """Whether each weight value occurs in a tile that runs at each level."""
    present = np.zeros((levels, len(tiles.values)), np.bool_)
    for first in range(0, tiles.grid.down, 16):  # in strips, so that no second copy of the histogram is made
        rows = slice(first, first + 16)
        here = (level[rows].ravel() == np.arange(levels)[:, None]).astype(np.float32)
        present |= here @ tiles.histogram[rows].reshape(-1, len(tiles.values)).astype(np.float32) > 0
    return present


def _slowest_of(
    tiles: LayerTiles,
    present: Bool[np.ndarray, " v"],
    profile: MacProfile,
    delay: Float64[np.ndarray, " w"] | None,
) -> float:
    """The longest delay in s of the values that are present; 0 where the delays are not known."""
    if delay is None:
        return 0.0
    return float(delay[rows_of(profile, tiles.values[present])].max(initial=0.0))


def check_clocks(
    phases: Sequence[tuple[Phase, tuple[FlatTileRun, ...]]],
    layers: Sequence[str],
    layer_tiles: Mapping[str, LayerTiles],
    delays: Delays,
    profile: MacProfile,
) -> None:
    """Refuse a schedule with a tile whose slowest weight value does not meet its clock.

    Raises:
        InputError: A tile is too slow. The error names the layer, the tile, the fastest clock that it meets and the
            clock of the schedule.
    """
    slowest: dict[tuple[int, OperatingPoint], Float64[np.ndarray, "down across"]] = {}
    kept: list[FlatTileRun] = []  # kept alive, because the sets below hold ids of their arrays
    met: set[tuple[int, int, OperatingPoint]] = set()  # checked already
    for phase, cut in phases:
        delay = delays[phase.point]
        if delay is None:
            continue
        whole = [
            FlatTileRun(layer, np.arange(layer_tiles[layers[layer]].classes.size))
            for layer in phase.whole
            if layers[layer] in layer_tiles
        ]
        kept += whole
        for run in (*cut, *whole):
            tiles = layer_tiles[layers[run.layer]]
            if (id(tiles.histogram), id(run.flat), phase.point) in met:
                continue
            key = (id(tiles.histogram), phase.point)
            if key not in slowest:
                slowest[key] = _slowest_by_tile(tiles, profile, delay)
            needed = slowest[key].ravel()[run.flat]
            worst = int(needed.argmax())
            if needed[worst] > phase.point.period_s * (1 + _PERIOD_TOLERANCE):
                down, across = divmod(int(run.flat[worst]), tiles.grid.across)
                raise InputError(
                    f"operating point of tile ({down}, {across}) of {tiles.layer} must be at most "
                    f"{engineering(1 / float(needed[worst]), 'Hz')} at {phase.point.voltage_v:g} V, "
                    f"which its slowest weight value meets, not {engineering(phase.point.frequency_hz, 'Hz')}"
                )
            met.add((id(tiles.histogram), id(run.flat), phase.point))


def unchecked_clock_notes(delays: Delays, target: Target, profile: MacProfile) -> tuple[str, ...]:
    """Return a sentence for each point that could not be checked because its delays are not known."""
    points = sorted((p for p, delay in delays.items() if delay is None), key=lambda p: p.frequency_hz)
    why = "its clocks are a claim" if target.array.claimed_clocks else "the profile holds no delays at that supply"
    return tuple(
        f"{engineering(p.frequency_hz, 'Hz')} at {p.voltage_v:g} V on {target.name} was not checked against profile "
        f"{profile.name}: {why}"
        for p in points
    )


def _delays_at(
    point: OperatingPoint,
    target: Target,
    profile: MacProfile,
    corner: int,
    delay_at: Callable[[float], Float64[np.ndarray, " w"]] | None,
) -> Float64[np.ndarray, " w"] | None:
    """Delay in s of each weight value at a point's supply on this machine, or None where it is not known."""
    if target.array.claimed_clocks:
        return None
    if delay_at is not None:
        return delay_at(point.voltage_v)
    if target.array.profile_voltage_v:  # the machine's voltages are those of the profile's corners
        for number, known in enumerate(profile.corners):
            if abs(known.voltage_v - point.voltage_v) <= _VOLTAGE_TOLERANCE_V:
                return profile.delay_s[number]
        return None
    if abs(point.voltage_v - target.base.voltage_v) <= _VOLTAGE_TOLERANCE_V:
        delay = profile.delay_s[corner]
        return delay * (target.base.period_s / float(delay.max()))
    return None


def _slowest_by_tile(
    tiles: LayerTiles, profile: MacProfile, delay: Float64[np.ndarray, " w"]
) -> Float64[np.ndarray, "down across"]:
    """Delay in s of the slowest value that occurs in each tile."""
    slowest = np.zeros((tiles.grid.down, tiles.grid.across), np.float64)
    for number, delay_s in enumerate(delay[rows_of(profile, tiles.values)].tolist()):
        np.maximum(slowest, np.where(tiles.histogram[:, :, number] > 0, delay_s, 0.0), out=slowest)
    return slowest
