"""The schedule cut into steps: what runs together at one clock, or at once on islands, and where transitions fall."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from haloquant.accel.billing.layer_work import LayerWork
from haloquant.accel.billing.phase_runs import Run
from haloquant.records import OperatingPoint, Phase

_Energies = dict[tuple[int, int], float]  # of tiles, by (energies of the layer's tiles, tiles) in memory


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of one layer that runs in one phase, or in one step."""

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


def steps(
    phases: Sequence[tuple[Phase, tuple[Run, ...]]],
    row_blocks: Mapping[int, int],
    works: Sequence[LayerWork],
    arrays: int,
) -> list[Step]:
    """Return the steps of a schedule in order.

    Neighbours of one group at one point are one step: the array runs on without draining. A group cut into blocks of
    rows is gone through forth and back, so every change of point inside it is crossed once per block, and it ends
    where it began if their number is even.
    """
    made: list[Step] = []
    known: _Energies = {}
    last: OperatingPoint | None = None
    for group, members in groupby(phases, key=lambda item: item[0].group):
        blocks = row_blocks.get(group, 1)
        first: OperatingPoint | None = None
        for pinned, part in groupby(members, key=lambda item: None if item[0].arrays != (0, 0) else item[0].point):
            items = list(part)
            if pinned is None:
                lanes = tuple(
                    Lane(
                        p.point,
                        p.arrays[0],
                        p.arrays[1] - p.arrays[0],
                        _by_layer(_pieces(p, runs, works, known), works),
                    )
                    for p, runs in items
                )
                made.append(Step(group, blocks, 0, 0.0, lanes))
                continue
            switch = last is not None and last != pinned
            count = (blocks if first is not None else 1) if switch else 0
            highest = max(pinned.voltage_v, last.voltage_v) if last is not None else pinned.voltage_v
            pieces = _by_layer((piece for phase, runs in items for piece in _pieces(phase, runs, works, known)), works)
            made.append(Step(group, blocks, count, highest, (Lane(pinned, 0, arrays, pieces),)))
            first = first or pinned
            last = pinned
        if first is not None and blocks % 2 == 0:
            last = first
    return made


def _by_layer(pieces: Iterable[Piece], works: Sequence[LayerWork]) -> tuple[Piece, ...]:
    """One piece per layer, the one that begins first: what neighbouring phases run of a layer is added up."""
    found: dict[int, tuple[int, float]] = {}
    for piece in pieces:
        folds, tile_j = found.get(piece.layer, (0, 0.0))
        found[piece.layer] = folds + piece.folds, tile_j + piece.tile_j
    return tuple(Piece(layer, folds, folds / works[layer].folds, tile_j) for layer, (folds, tile_j) in found.items())


def _pieces(phase: Phase, runs: Sequence[Run], works: Sequence[LayerWork], known: _Energies) -> list[Piece]:
    """The parts of layers that run in one phase; equal tiles of equal energies are summed once."""
    pieces: list[Piece] = []
    for run in runs:
        work = works[run.layer]
        folds = len(run.flat)
        energy = 0.0
        if work.tile_j is not None:
            key = (id(work.tile_j), id(run.flat))
            if key not in known:
                known[key] = float(work.tile_j.ravel().take(run.flat).sum())
            energy = known[key]
        pieces.append(Piece(run.layer, folds, folds / work.folds, energy))
    for layer in phase.whole:
        work = works[layer]
        energy = work.mean_j * work.folds if work.tile_j is None else float(work.tile_j.sum())
        pieces.append(Piece(layer, work.folds, 1.0, energy))
    return pieces
