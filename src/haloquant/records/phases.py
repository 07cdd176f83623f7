"""The phases of a schedule as arrays. They are many (a panel of columns makes one per clock), but few are unlike.

Groups that are cut and ordered alike share one `GroupOrder`, and what a stage works out for it is worked out once.
`PhaseTable` is also a sequence of plain `Phase` records, made only when one is asked for.
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
    """How one dependency group runs: the point of each of its phases, and the phase of each of its tiles.

    `level[p]` is the point of phase p as an index into the table's points. Layer l of the group either has tiles, and
    tile (d, a) runs in phase `phase_of[l][d, a]`, or runs whole in phase `whole[l]` (-1 where it has tiles). Inside a
    phase tiles run layer by layer, by down, then across.
    """

    level: Int64[np.ndarray, " phases"]
    phase_of: tuple[Int32[np.ndarray, "_ _"] | None, ...]
    whole: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OrderedGroup:
    """A dependency group, the index of its first layer, and its order."""

    group: int
    first: int
    order: GroupOrder


@dataclass(frozen=True)
class PhaseTable(Sequence[Phase]):
    """The phases of a pass on all arrays together. `points` are distinct: equal levels are equal points."""

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
        works: dict[int, list[_Work]] = {}
        for item in self.groups:
            if id(item.order) not in works:
                works[id(item.order)] = _works(item.order)
        return tuple(
            Phase(
                item.group,
                self.points[level],
                tuple(TileRun(item.first + layer, places) for layer, places in runs),
                tuple(item.first + layer for layer in whole),
            )
            for item in self.groups
            for level, (runs, whole) in zip(_levels(item.order), works[id(item.order)], strict=True)
        )


_Work = tuple[list[tuple[int, Int32[np.ndarray, "n 2"]]], list[int]]  # tiles by layer, and layers that run whole


def _works(order: GroupOrder) -> list[_Work]:
    """What runs in each phase of a group, layers counted from its first."""
    works: list[_Work] = [([], []) for _ in order.level]
    for layer, (phase_of, whole) in enumerate(zip(order.phase_of, order.whole, strict=True)):
        if phase_of is None:
            works[whole][1].append(layer)
            continue
        by_phase = np.argsort(phase_of, axis=None, kind="stable")
        places = np.stack(np.divmod(by_phase, phase_of.shape[1]), axis=1).astype(np.int32)
        bounds = np.searchsorted(phase_of.ravel()[by_phase], np.arange(len(works) + 1)).tolist()
        for (runs, _), low, high in zip(works, bounds[:-1], bounds[1:], strict=True):
            if low < high:
                runs.append((layer, places[low:high]))
    return works


def used_points(phases: Sequence[Phase]) -> tuple[OperatingPoint, ...]:
    """Return the distinct points that some phases run at, in order of their first use."""
    if not isinstance(phases, PhaseTable):
        return tuple(dict.fromkeys(phase.point for phase in phases))
    orders = {id(item.order): item.order for item in phases.groups}.values()
    levels = dict.fromkeys(level for order in orders for level in dict.fromkeys(_levels(order)))
    return tuple(phases.points[level] for level in levels)


def _levels(order: GroupOrder) -> list[int]:
    """The levels as Python integers, whose type the checker knows."""
    return order.level.tolist()
