"""What pictures are drawn from: long tables of plain numbers, one row per mark."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.comparison import SweepPoint, Versus
from haloquant.accel.gpu_roofline import WhatIf
from haloquant.accel.results import BOUNDS, Simulation


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


@dataclass(frozen=True, slots=True)
class Compared:
    """One rival beside our system under one premise; above 1 we are faster or spend less."""

    premise: str  # the machine, or "paper"
    target: str
    phase: str
    rival: str
    time_s: float
    rival_time_s: float
    speedup: float
    energy_j: float
    rival_energy_j: float
    energy_ratio: float
    why: str  # how the rival came to its clock


def compared(premise: str, item: Versus) -> Compared:
    """Return a comparison as one row."""
    return Compared(
        premise, item.target, item.phase, item.rival, item.time_s, item.rival_time_s, item.speedup, item.energy_j,
        item.rival_energy_j, item.energy_ratio, item.why,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Paced:
    """One supply that a deadline might be met with; energy includes idling until the deadline."""

    supply_factor: float  # of the machine's own
    time_s: float
    energy_j: float
    idle_j: float
    in_time: bool
    chosen: str  # "race-to-idle", "deadline", both or nothing


@dataclass(frozen=True, slots=True)
class Cell:
    """One place on the map of bandwidth and clock."""

    phase: str
    target: str
    bandwidth_b_per_s: float
    base_frequency_hz: float
    own: bool  # the machine as it is
    time_s: float
    bound: str  # the resource that held longest
    rival: str
    rival_time_s: float
    speedup: float


@dataclass(frozen=True, slots=True)
class Ordered:
    """One policy of ordering tiles, and what the pass then takes; of zeros where `cannot` says why it does not run."""

    phase: str
    policy: str
    transitions: int
    time_s: float
    transition_s: float
    energy_j: float
    cannot: str = ""


def ordered(simulation: Simulation) -> Ordered:
    """Return a pass under its policy as one row."""
    total = simulation.total
    return Ordered(
        simulation.phase, simulation.policy, total.transitions, simulation.time_s, total.time_s.get("transition", 0.0),
        total.total_energy_j,
    )  # fmt: skip


def longest_bound(simulation: Simulation) -> str:
    """Return the resource that held for most of a pass."""
    return max(BOUNDS, key=lambda name: simulation.total.time_s.get(name, 0.0))


@dataclass(frozen=True, slots=True)
class OnBoard:
    """One format at one clock of a graphics processor."""

    target: str
    phase: str
    format: str
    voltage_v: float
    frequency_hz: float
    time_s: float
    speedup: float  # over the first clock
    energy_per_token_j: float
    bound: str
    must_follow: str  # blocks that weight values do not shorten and such a clock would need as fast
    switching_s: float  # of one pass, if clocks were switched per dependency group


def on_board(item: WhatIf) -> OnBoard:
    """Return a pass on a graphics processor as one row."""
    cost = item.cost
    return OnBoard(
        cost.target, cost.phase, cost.format, cost.point.voltage_v, cost.point.frequency_hz, cost.time_s, item.speedup,
        cost.energy_per_token_j, cost.bound, ", ".join(block.name for block in item.must_follow), item.switching_s,
    )  # fmt: skip
