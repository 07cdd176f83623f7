"""What pictures are drawn from: long tables of plain numbers, one row per mark."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.compare import SweepPoint
from haloquant.accel.results import Simulation


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of one stacked bar."""

    system: str
    phase: str
    target: str
    quantity: str  # time_s or energy_j
    part: str
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One point of a sweep's line."""

    system: str
    phase: str
    target: str
    swept: str
    value: float
    unit: str
    time_s: float
    energy_j: float
    transitions: int


def stacked(simulations: Sequence[Simulation]) -> list[Bar]:
    """Return the parts of time and energy of every run; parts that are 0 are left out."""
    return [
        Bar(run.system, run.phase, run.target, quantity, part, value)
        for run in simulations
        for quantity, parts in (("time_s", run.total.time_s), ("energy_j", run.total.energy_j))
        for part, value in parts.items()
        if value
    ]


def swept(points: Sequence[SweepPoint]) -> list[Mark]:
    """Return a line's points."""
    return [
        Mark(
            p.simulation.system,
            p.simulation.phase,
            p.simulation.target,
            p.swept,
            p.value,
            p.unit,
            p.simulation.time_s,
            p.simulation.total.total_energy_j,
            p.simulation.total.transitions,
        )
        for p in points
    ]
