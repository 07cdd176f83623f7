"""The timeline of a pass as arrays, group by group. `SegmentTable` is also a sequence of `Segment` records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Bool, Float64, Int64

from haloquant.accel.results import BOUNDS, Segment
from haloquant.records import OperatingPoint


@dataclass(frozen=True)
class GroupTimes:
    """The steps of one dependency group, in order. Fields are named as in `Segment`. Equal groups share one object."""

    level: Int64[np.ndarray, " step"]  # operating point, as an index into the table's points
    runs: Bool[np.ndarray, "layer step"]  # whether the layer runs in the step
    begin_s: Float64[np.ndarray, " step"]  # from the start of the group
    transition_s: Float64[np.ndarray, " step"]
    fill_s: Float64[np.ndarray, " step"]
    compute_s: Float64[np.ndarray, " step"]
    dram_s: Float64[np.ndarray, " step"]
    sram_s: Float64[np.ndarray, " step"]
    spmv_s: Float64[np.ndarray, " step"]
    busy_s: Float64[np.ndarray, " step"]
    cycles: Int64[np.ndarray, " step"]
    tiles: Int64[np.ndarray, " step"]
    transitions: Int64[np.ndarray, " step"]
    bound: Int64[np.ndarray, " step"]  # an index into BOUNDS
    duration_s: float


@dataclass(frozen=True, slots=True)
class PlacedGroup:
    """A group on the timeline: its number, the index of its first layer, its blocks of rows and its start."""

    group: int
    first: int
    blocks: int
    start_s: float
    times: GroupTimes


@dataclass(frozen=True, eq=False)
class SegmentTable(Sequence[Segment]):
    """The segments of a pass that runs on all arrays together. `Segment` records are made on first use."""

    points: tuple[OperatingPoint, ...]
    arrays: int
    groups: tuple[PlacedGroup, ...]

    def __len__(self) -> int:
        return sum(len(placed.times.level) for placed in self.groups)

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Segment, ...]: ...

    def __getitem__(self, index: int | slice) -> Segment | tuple[Segment, ...]:
        return self._expanded[index]

    def __iter__(self) -> Iterator[Segment]:
        return iter(self._expanded)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SegmentTable) and self._expanded == other._expanded

    @cached_property
    def _expanded(self) -> tuple[Segment, ...]:
        return tuple(segment for placed in self.groups for segment in self._group(placed))

    def _group(self, placed: PlacedGroup) -> Iterator[Segment]:
        times = placed.times
        for step in range(len(times.level)):
            yield Segment(
                group=placed.group,
                point=self.points[int(times.level[step])],
                first_array=0,
                arrays=self.arrays,
                start_s=placed.start_s + float(times.begin_s[step]),
                transition_s=float(times.transition_s[step]),
                fill_s=float(times.fill_s[step]),
                compute_s=float(times.compute_s[step]),
                dram_s=float(times.dram_s[step]),
                sram_s=float(times.sram_s[step]),
                spmv_s=float(times.spmv_s[step]),
                busy_s=float(times.busy_s[step]),
                cycles=int(times.cycles[step]),
                tiles=int(times.tiles[step]),
                blocks=placed.blocks,
                transitions=int(times.transitions[step]),
                layers=tuple(placed.first + layer for layer in np.flatnonzero(times.runs[:, step]).tolist()),
                bound=BOUNDS[int(times.bound[step])],
            )
