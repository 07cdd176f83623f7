"""The steps of a schedule: neighbouring phases at one point, or islands that run at the same time; and transitions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from haloquant.accel.cost_model.layer_work import LayerWork
from haloquant.accel.cost_model.schedule_coverage import FlatTileRun
from haloquant.records import OperatingPoint, Phase

# Summed energy of some tiles, by (id of the energies of the layer's tiles, id of the tiles' indices).
_Energies = dict[tuple[int, int], float]


@dataclass(frozen=True, slots=True)
class LayerPart:
    """The tiles of one layer that run in one phase or in one step."""

    layer: int
    folds: int
    share: float  # folds over the layer's folds
    tile_j: float  # energy in J of all these tiles per activation row, at the profile's corner


@dataclass(frozen=True, slots=True)
class Island:
    """A range of arrays at one operating point, and its layer parts. Without islands one range holds all arrays."""

    point: OperatingPoint
    first_array: int
    arrays: int
    parts: tuple[LayerPart, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One segment of the timeline: all arrays at one point, or several islands at the same time."""

    group: int
    blocks: int
    transitions: int  # into this step, over all blocks of rows
    transition_v: float  # the higher of the supplies before and after the transition
    islands: tuple[Island, ...]

    @property
    def parts(self) -> tuple[LayerPart, ...]:
        """The layer parts of all islands."""
        return tuple(part for island in self.islands for part in island.parts)


def steps_of(
    phases: Sequence[tuple[Phase, tuple[FlatTileRun, ...]]],
    row_blocks: Mapping[int, int],
    works: Sequence[LayerWork],
    arrays: int,
) -> list[Step]:
    """Return the steps of a schedule in order.

    Neighbouring phases of one group at one point are one step, because the array runs on without a drain. A group that
    is cut into blocks of rows runs alternately forward and backward: every change of point inside it is crossed once
    per block, and the group ends at the point where it began if the number of blocks is even.
    """
    steps: list[Step] = []
    known: _Energies = {}
    last: OperatingPoint | None = None  # the point before
    for group, members in groupby(phases, key=lambda item: item[0].group):
        blocks = row_blocks.get(group, 1)
        first: OperatingPoint | None = None
        for pinned, part in groupby(members, key=lambda item: None if item[0].arrays != (0, 0) else item[0].point):
            items = list(part)
            if pinned is None:
                islands = tuple(
                    Island(
                        p.point,
                        p.arrays[0],
                        p.arrays[1] - p.arrays[0],
                        _by_layer(_layer_parts(p, runs, works, known), works),
                    )
                    for p, runs in items
                )
                steps.append(Step(group, blocks, 0, 0.0, islands))
                continue
            switch = last is not None and last != pinned
            count = (blocks if first is not None else 1) if switch else 0
            highest = max(pinned.voltage_v, last.voltage_v) if last is not None else pinned.voltage_v
            parts = _by_layer(
                (part for phase, runs in items for part in _layer_parts(phase, runs, works, known)), works
            )
            steps.append(Step(group, blocks, count, highest, (Island(pinned, 0, arrays, parts),)))
            first = first or pinned
            last = pinned
        if first is not None and blocks % 2 == 0:
            last = first
    return steps


def _by_layer(parts: Iterable[LayerPart], works: Sequence[LayerWork]) -> tuple[LayerPart, ...]:
    """One part per layer, with the tiles of all its parts, in the order in which the layers begin."""
    found: dict[int, tuple[int, float]] = {}
    for part in parts:
        folds, tile_j = found.get(part.layer, (0, 0.0))
        found[part.layer] = folds + part.folds, tile_j + part.tile_j
    return tuple(
        LayerPart(layer, folds, folds / works[layer].folds, tile_j) for layer, (folds, tile_j) in found.items()
    )


def _layer_parts(
    phase: Phase, runs: Sequence[FlatTileRun], works: Sequence[LayerWork], known: _Energies
) -> list[LayerPart]:
    """The layer parts of one phase. The energy of tiles that several layers share is summed once."""
    parts: list[LayerPart] = []
    for run in runs:
        work = works[run.layer]
        folds = len(run.flat)
        energy = 0.0
        if work.tile_j is not None:
            key = (id(work.tile_j), id(run.flat))
            if key not in known:
                known[key] = float(work.tile_j.ravel().take(run.flat).sum())
            energy = known[key]
        parts.append(LayerPart(run.layer, folds, folds / work.folds, energy))
    for layer in phase.whole:
        work = works[layer]
        energy = work.mean_tile_j * work.folds if work.tile_j is None else float(work.tile_j.sum())
        parts.append(LayerPart(layer, work.folds, 1.0, energy))
    return parts
