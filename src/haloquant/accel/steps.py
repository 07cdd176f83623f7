"""The schedule cut into steps: what runs together at one clock, or at once on islands, and where transitions fall."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np

from haloquant.types import OperatingPoint, Phase, Schedule

from .layer import LayerWork


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of one layer that runs in one phase."""

    layer: int
    folds: int
    share: float  # of the layer's tiles
    tile_j: float  # energy of all its tiles per activation row, at the profile's corner


@dataclass(frozen=True, slots=True)
class Lane:
    """Pieces that share arrays and clock."""

    point: OperatingPoint
    first_array: int
    arrays: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One segment of the timeline: one lane, or several islands at once."""

    group: int
    blocks: int
    transitions: int  # into it, over all blocks of rows
    transition_v: float  # the higher of the two supplies
    lanes: tuple[Lane, ...]

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Pieces of all lanes."""
        return tuple(piece for lane in self.lanes for piece in lane.pieces)


def steps(schedule: Schedule, works: Sequence[LayerWork], arrays: int) -> list[Step]:
    """Return the steps of a schedule in order.

    Neighbours of one group at one point are one step: the array runs on without draining. A group cut into blocks of
    rows is gone through forth and back, so every change of point inside it is crossed once per block, and it ends
    where it began if their number is even.
    """
    made: list[Step] = []
    last: OperatingPoint | None = None
    for group, members in groupby(schedule.phases, key=lambda phase: phase.group):
        blocks = schedule.row_blocks.get(group, 1)
        first: OperatingPoint | None = None
        for pinned, part in groupby(members, key=lambda phase: None if phase.arrays != (0, 0) else phase.point):
            phases = list(part)
            if pinned is None:
                lanes = tuple(
                    Lane(p.point, p.arrays[0], p.arrays[1] - p.arrays[0], tuple(_pieces(p, works))) for p in phases
                )
                made.append(Step(group, blocks, 0, 0.0, lanes))
                continue
            switch = last is not None and last != pinned
            count = (blocks if first is not None else 1) if switch else 0
            highest = max(pinned.voltage_v, last.voltage_v) if last is not None else pinned.voltage_v
            pieces = tuple(piece for phase in phases for piece in _pieces(phase, works))
            made.append(Step(group, blocks, count, highest, (Lane(pinned, 0, arrays, pieces),)))
            first = first or pinned
            last = pinned
        if first is not None and blocks % 2 == 0:
            last = first
    return made


def _pieces(phase: Phase, works: Sequence[LayerWork]) -> list[Piece]:
    """Split a phase by layer."""
    pieces: list[Piece] = []
    if len(phase.tiles):
        layers = phase.tiles[:, 0]
        cuts = np.flatnonzero(np.diff(layers)) + 1
        starts = [0, *cuts.tolist(), len(layers)]
        for low, high in pairwise(starts):
            work = works[int(layers[low])]
            energy = 0.0  # a layer with tiles in the schedule has a tile map: coverage was checked
            if work.tile_j is not None:
                energy = float(work.tile_j[phase.tiles[low:high, 1], phase.tiles[low:high, 2]].sum())
            pieces.append(Piece(int(layers[low]), high - low, (high - low) / work.folds, energy))
    for layer in phase.whole:
        work = works[layer]
        energy = work.mean_j * work.folds if work.tile_j is None else float(work.tile_j.sum())
        pieces.append(Piece(layer, work.folds, 1.0, energy))
    return pieces
