"""A design, its cost in each phase, and the designs that no other one beats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from haloquant.accel.elements import Element
from haloquant.jobs.codesign.word_sets import WordSet

T = TypeVar("T")


@dataclass(frozen=True)
class Design:
    """An array: the words of its weights, its rows (a tile's), its element at one corner, and its activation registers.

    `bus` columns share one register of an activation. `supply` is the share of the corner's supply at which it runs.
    """

    words: WordSet
    tile: int
    element: Element
    bus: int
    supply: float = 1.0

    @property
    def supply_v(self) -> float:
        """The supply in V, in the volts of the element's profile."""
        return self.supply * self.element.profile.corners[0].voltage_v

    @property
    def name(self) -> str:
        """A name of a line: words, element, supply, tile and bus."""
        shared = f", a register for {self.bus} columns" if self.bus > 1 else ""
        return f"{self.words.name} on {self.element.profile.name} at {self.supply_v:.3g} V, tile {self.tile}{shared}"


@dataclass(frozen=True)
class DesignCost:
    """What a design takes for one pass at the given area: time in s, energy in J, area in m2."""

    design: Design
    phase: str
    columns: int
    array_area_m2: float
    area_m2: float
    time_s: float
    energy_j: float
    tokens: int

    @property
    def tokens_per_s_mm2(self) -> float:
        """Tokens in a second for each square millimetre of the given area."""
        return self.tokens / self.time_s / (self.area_m2 * 1e6)

    @property
    def token_j(self) -> float:
        """Energy of a token in J."""
        return self.energy_j / self.tokens

    @property
    def energy_time(self) -> float:
        """Energy x time of the pass in J s."""
        return self.energy_j * self.time_s


def not_beaten(points: Sequence[T], costs: Callable[[T], tuple[float, ...]]) -> list[T]:
    """Return the points that no other one beats: at least as good in every cost and better in one.

    Points of equal costs are all kept.
    """
    known = [costs(point) for point in points]
    return [
        point
        for point, mine in zip(points, known, strict=True)
        if not any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in known)
    ]
