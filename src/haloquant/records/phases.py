"""The phases of a schedule as arrays.

A schedule has many phases, but most groups of a model have the same tile maps and the same order. Such groups share one
`GroupOrder`, so that a stage computes the results of an order only once. `PhaseTable` is also a sequence of `Phase`
records; the records are created at the first access.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
from jaxtyping import Int32, Int64

from haloquant.records.mac import OperatingPoint
from haloquant.records.schedule import Phase, TileRun


@dataclass(frozen=True)
class GroupOrder:
    """The order in which one dependency group runs. Layers are counted from the first layer of the group.

    Inside a phase, tiles run layer by layer, in each layer by down, then across.

    Attributes:
        level: operating point of each phase, as an index into `PhaseTable.points`.
        phase_of: for each layer, the phase of each of its tiles [down, across]; None if the layer has no tiles.
        whole: for each layer without tiles, the phase in which it runs completely; -1 for layers with tiles.
    """

    level: Int64[np.ndarray, " phases"]
    phase_of: tuple[Int32[np.ndarray, "_ _"] | None, ...]
    whole: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OrderedGroup:
    """A dependency group of a pass.

    Attributes:
        group: number of the group.
        first: index of its first layer in `Schedule.layers`.
        order: how it runs.
    """

    group: int
    first: int
    order: GroupOrder


@dataclass(frozen=True)
class PhaseTable(Sequence[Phase]):
    """The phases of a pass, each on all arrays.

    Attributes:
        points: the operating points, each once.
        groups: the dependency groups in order of execution.
    """

    points: tuple[OperatingPoint, ...]
    groups: tuple[OrderedGroup, ...]

    def __len__(self) -> int:
        return sum(len(item.order.level) for item in self.groups)

    @overload
    def __getitem__(self, index: int) -> Phase: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Phase, ...]: ...

    def __getitem__(self, index: int | slice) -> Phase | tuple[Phase, ...]:
        return self._expanded[index]

    def __iter__(self) -> Iterator[Phase]:
        return iter(self._expanded)

    @cached_property
    def _expanded(self) -> tuple[Phase, ...]:
        contents: dict[int, list[_Content]] = {}
        for item in self.groups:
            if id(item.order) not in contents:
                contents[id(item.order)] = _contents(item.order)
        return tuple(
            Phase(
                item.group,
                self.points[level],
                tuple(TileRun(item.first + layer, places) for layer, places in runs),
                tuple(item.first + layer for layer in whole),
            )
            for item in self.groups
            for level, (runs, whole) in zip(_levels(item.order), contents[id(item.order)], strict=True)
        )


# Of one phase: tiles by layer, and the layers that run completely in it.
_Content = tuple[list[tuple[int, Int32[np.ndarray, "n 2"]]], list[int]]


def _contents(order: GroupOrder) -> list[_Content]:
    """Return the tiles and layers that run in each phase of a group. Layers are counted from the first of the group."""
    contents: list[_Content] = [([], []) for _ in order.level]
    for layer, (phase_of, whole) in enumerate(zip(order.phase_of, order.whole, strict=True)):
        if phase_of is None:
            contents[whole][1].append(layer)
            continue
        by_phase = np.argsort(phase_of, axis=None, kind="stable")
        places = np.stack(np.divmod(by_phase, phase_of.shape[1]), axis=1).astype(np.int32)
        bounds = np.searchsorted(phase_of.ravel()[by_phase], np.arange(len(contents) + 1)).tolist()
        for (runs, _), low, high in zip(contents, bounds[:-1], bounds[1:], strict=True):
            if low < high:
                runs.append((layer, places[low:high]))
    return contents


def used_points(phases: Sequence[Phase]) -> tuple[OperatingPoint, ...]:
    """Return the distinct operating points of some phases, in order of their first use."""
    if not isinstance(phases, PhaseTable):
        return tuple(dict.fromkeys(phase.point for phase in phases))
    orders = {id(item.order): item.order for item in phases.groups}.values()
    levels = dict.fromkeys(level for order in orders for level in dict.fromkeys(_levels(order)))
    return tuple(phases.points[level] for level in levels)


def _levels(order: GroupOrder) -> list[int]:
    """Return the levels as Python integers."""
    return order.level.tolist()
