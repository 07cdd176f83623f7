"""The order in which tiles run and the clock of each phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int32

from haloquant.records.mac import OperatingPoint


@dataclass(frozen=True, slots=True)
class TileRun:
    """Tiles of one layer, one after the other, as (down, across). Layers with equal tile maps share `places`."""

    layer: int
    places: Int32[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Phase:
    """A stretch of tiles of one dependency group at one operating point.

    `whole` names layers without a tile map that run entirely in this phase: attention, whose operands are both
    activations, and layers that were not quantized. `arrays` is the half-open range of arrays that run it; (0, 0) is
    all of them. Neighbours of one group on disjoint ranges run at the same time.
    """

    group: int
    point: OperatingPoint
    runs: tuple[TileRun, ...]
    whole: tuple[int, ...] = ()
    arrays: tuple[int, int] = (0, 0)

    @property
    def tiles(self) -> Int32[np.ndarray, "n 3"]:
        """Every tile as (layer index, down, across), in order."""
        rows = [np.insert(run.places, 0, run.layer, axis=1) for run in self.runs]
        return np.concatenate([np.empty((0, 3), np.int32), *rows])


@dataclass(frozen=True)
class Schedule:
    """Phases in order of execution. A transition happens wherever two neighbours differ in their point.

    `row_blocks` says into how many blocks of activation rows a group is cut so that its partial sums fit the
    accumulators (1 where it is not named): the group's phases run forth, then back, then forth, once per block.
    `phases` is what the planner makes, a `phases.PhaseTable`, or any phases listed one by one.
    """

    layers: tuple[str, ...]
    phases: Sequence[Phase]
    transitions: int
    policy: str
    row_blocks: Mapping[int, int] = field(default_factory=dict[int, int])
