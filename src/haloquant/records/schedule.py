"""The order in which tiles run, and the operating point of each phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int32

from haloquant.records.mac import OperatingPoint


@dataclass(frozen=True, slots=True)
class TileRun:
    """Tiles of one layer that run one after the other.

    Attributes:
        layer: index of the layer in `Schedule.layers`.
        places: (down, across) of each tile. Layers with equal tile maps share one array.
    """

    layer: int
    places: Int32[np.ndarray, "n 2"]


@dataclass(frozen=True)
class Phase:
    """Consecutive tiles of one dependency group at one operating point.

    Attributes:
        group: the dependency group.
        point: operating point of the arrays.
        runs: the tiles, in order.
        whole: indices of the layers without a tile map that run completely in this phase: attention products, whose
            operands are both activations, and layers that are not quantized.
        arrays: half-open range of the arrays that run the phase; (0, 0) means all. Consecutive phases of one group on
            disjoint ranges run at the same time.
    """

    group: int
    point: OperatingPoint
    runs: tuple[TileRun, ...]
    whole: tuple[int, ...] = ()
    arrays: tuple[int, int] = (0, 0)

    @property
    def tiles(self) -> Int32[np.ndarray, "n 3"]:
        """Every tile as (layer, down, across), in order."""
        rows = [np.insert(run.places, 0, run.layer, axis=1) for run in self.runs]
        return np.concatenate([np.empty((0, 3), np.int32), *rows])


@dataclass(frozen=True)
class Schedule:
    """Phases in order of execution.

    Attributes:
        layers: names of the layers; phases refer to them by index.
        phases: a `phases.PhaseTable` from the planner, or any sequence of phases.
        transitions: number of changes of the operating point. One happens between consecutive phases with different
            points.
        policy: name of the rule that made the order.
        row_blocks: number of blocks of activation rows of each group; 1 if the group is not named. A group is cut into
            blocks so that its partial sums fit the accumulators. Its phases run once per block: forwards for the first
            block, backwards for the second, and so on.
    """

    layers: tuple[str, ...]
    phases: Sequence[Phase]
    transitions: int
    policy: str
    row_blocks: Mapping[int, int] = field(default_factory=dict[int, int])
