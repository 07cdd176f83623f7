"""Rows of the tables that charts and CSV files are made from: plain numbers, one row per mark of a chart."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.gpu_roofline import WhatIf
from haloquant.accel.results import BOUNDS, Simulation
from haloquant.accel.system_comparison import Comparison, SweepPoint


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of one stacked bar of time or energy."""

    system: str
    phase: str
    target: str
    quantity: str  # time_s or energy_j
    part: str
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One point on the line of a sweep."""

    system: str
    phase: str
    target: str
    swept: str
    value: float
    unit: str
    time_s: float
    energy_j: float
    transitions: int


def stacked_bars(simulations: Sequence[Simulation]) -> list[Bar]:
    """Return the parts of time and energy of every run. Parts that are 0 are left out."""
    return [
        Bar(run.system, run.phase, run.target, quantity, part, value)
        for run in simulations
        for quantity, parts in (("time_s", run.total.time_s), ("energy_j", run.total.energy_j))
        for part, value in parts.items()
        if value
    ]


def sweep_marks(points: Sequence[SweepPoint]) -> list[Mark]:
    """Return the points of a sweep as rows."""
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
class ComparisonRow:
    """HALO and one rival under one premise. A ratio above 1 means that HALO is faster or spends less energy."""

    premise: str  # the machine's name, or "paper" for the paper's clocks
    target: str
    phase: str
    rival: str
    time_s: float
    rival_time_s: float
    speedup: float
    energy_j: float
    rival_energy_j: float
    energy_ratio: float
    why: str  # the reason for the rival's clock


def comparison_row(premise: str, item: Comparison) -> ComparisonRow:
    """Return a comparison as one row. `premise` is the machine's name or "paper"."""
    return ComparisonRow(
        premise, item.target, item.phase, item.rival, item.time_s, item.rival_time_s, item.speedup, item.energy_j,
        item.rival_energy_j, item.energy_ratio, item.why,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeadlineRow:
    """A pass at one supply under a deadline. `energy_j` includes idling until the deadline."""

    supply_factor: float  # supply over the machine's own
    time_s: float
    energy_j: float
    idle_j: float
    in_time: bool
    chosen: str  # "race-to-idle", "deadline", both of them, or empty


@dataclass(frozen=True, slots=True)
class BandwidthClockCell:
    """One cell of the map over DRAM bandwidth and base clock."""

    phase: str
    target: str
    bandwidth_b_per_s: float
    base_frequency_hz: float
    own: bool  # whether these are the machine's own bandwidth and clock
    time_s: float
    bound: str  # the resource that limited most of the time
    rival: str
    rival_time_s: float
    speedup: float


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A pass under one policy of ordering tiles. If the policy cannot run, `cannot` says why and the numbers are 0."""

    phase: str
    policy: str
    transitions: int
    time_s: float
    transition_s: float
    energy_j: float
    cannot: str = ""


def policy_row(simulation: Simulation) -> PolicyRow:
    """Return a simulated pass as one row."""
    total = simulation.total
    return PolicyRow(
        simulation.phase, simulation.policy, total.transitions, simulation.time_s, total.time_s.get("transition", 0.0),
        total.total_energy_j,
    )  # fmt: skip


def limiting_resource(simulation: Simulation) -> str:
    """Return the resource that limits most of the time of a pass: one of `results.BOUNDS`."""
    return max(BOUNDS, key=lambda name: simulation.total.time_s.get(name, 0.0))


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One format at one clock of a GPU."""

    target: str
    phase: str
    format: str
    voltage_v: float
    frequency_hz: float
    time_s: float
    speedup: float  # over the first clock
    energy_per_token_j: float
    bound: str
    must_follow: str  # blocks that must reach this clock although weight values do not shorten their paths
    switching_s: float  # transition time of one pass if the clock were switched per dependency group


def gpu_row(item: WhatIf) -> GpuRow:
    """Return a pass on a GPU as one row."""
    cost = item.cost
    return GpuRow(
        cost.target, cost.phase, cost.format, cost.point.voltage_v, cost.point.frequency_hz, cost.time_s, item.speedup,
        cost.energy_per_token_j, cost.bound, ", ".join(block.name for block in item.must_follow), item.switching_s,
    )  # fmt: skip
