"""Comparison of systems on one machine, and sweeps of one system over a parameter of the machine.

A ratio is never stored without its two numbers. The planner is an argument; the product passes `dvfs.schedule.plan`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import System
from haloquant.accel.simulation import DelayAt, simulate
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.records import Gemm, LayerTiles, MacProfile, OperatingPoint, Schedule

Planner = Callable[
    [Sequence[Gemm], Mapping[str, LayerTiles], Sequence[OperatingPoint], OperatingPoint, str, float, int], Schedule
]

TRANSITIONS_S: tuple[float, ...] = (20e-9, 100e-9, 1e-6, 10e-6, 50e-6)
STATIC_W: tuple[float, ...] = (0.0, 7.0, 14.0, 28.0)


@dataclass(frozen=True)
class Comparison:
    """One pass of HALO and of one rival. A ratio above 1 means that HALO is faster or spends less energy."""

    workload: str
    phase: str
    target: str
    rival: str
    time_s: float
    rival_time_s: float
    energy_j: float
    rival_energy_j: float
    why: str

    @property
    def speedup(self) -> float:
        """The rival's time over HALO's."""
        return self.rival_time_s / self.time_s

    @property
    def energy_ratio(self) -> float:
        """The rival's energy over HALO's."""
        return self.rival_energy_j / self.energy_j


def run_system(
    system: System,
    workload: Workload,
    target: Target,
    profile: MacProfile,
    planner: Planner,
    policy: str = "panel",
    corner: int = 0,
    cycles_per_mac: float = 1.0,
    base: OperatingPoint | None = None,
    delay_at: DelayAt | None = None,
) -> Simulation:
    """Return the simulation of a system, scheduled for the target's accumulators and arrays.

    `base` replaces the target's base point for layers without tiles (attention, floating point), for example when a
    deadline lowers all supplies.
    """
    schedule = planner(
        workload.gemms,
        system.layer_tiles,
        system.points,
        base or target.base,
        policy,
        target.accumulator_b,
        target.array.count,
    )
    return simulate(
        workload,
        system.layer_tiles,
        schedule,
        target,
        profile,
        corner=corner,
        delay_at=delay_at,
        kv_bits=system.kv_bits,
        cycles_per_mac=cycles_per_mac,
        system=system.name,
    )


def runs_at_lower_supplies(
    system: System,
    workload: Workload,
    target: Target,
    profile: MacProfile,
    planner: Planner,
    slower: Callable[[Sequence[OperatingPoint], float], Sequence[OperatingPoint]],
    voltage_factors: Sequence[float],
    policy: str = "panel",
    corner: int = 0,
    delay_at: DelayAt | None = None,
) -> list[Simulation]:
    """Return the pass at each of several supplies: the candidates of `deadline.meet_deadline`.

    Args:
        system: The system at its fastest points.
        workload: The pass.
        target: The machine.
        profile: The multiplier.
        planner: `dvfs.schedule.plan`.
        slower: Function from points and a factor of their supply to the points at the lower supply, for example
            `dvfs.supply_modes.slowed_points` with a curve.
        voltage_factors: Factors of the supply; 1 is the system's own.
        policy: How tiles are ordered.
        corner: The profile's corner.
        delay_at: See `simulation.simulate`.
    """
    runs: list[Simulation] = []
    for factor in voltage_factors:
        points = tuple(slower(system.points, factor))
        (base,) = slower((target.base,), factor)
        run = replace(system, points=points)
        runs.append(run_system(run, workload, target, profile, planner, policy, corner, base=base, delay_at=delay_at))
    return runs


def compare_runs(ours: Simulation, rivals: Sequence[tuple[System, Simulation]]) -> list[Comparison]:
    """Return the comparison of HALO's run with each rival's run of the same pass."""
    return [
        Comparison(
            ours.workload,
            ours.phase,
            ours.target,
            system.name,
            ours.time_s,
            run.time_s,
            ours.total.total_energy_j,
            run.total.total_energy_j,
            system.why,
        )
        for system, run in rivals
    ]


@dataclass(frozen=True)
class SweepPoint:
    """One value of the swept parameter, and the simulated pass at this value."""

    swept: str
    value: float
    unit: str
    simulation: Simulation


def sweep_transition(
    run: Callable[[Target], Simulation], target: Target, latencies_s: Sequence[float] = TRANSITIONS_S
) -> list[SweepPoint]:
    """Return the pass at each transition time in s, all else equal."""
    return [
        SweepPoint("transition", t, "s", run(replace(target, transition=replace(target.transition, latency_s=t))))
        for t in latencies_s
    ]


def sweep_static(
    run: Callable[[Target], Simulation], target: Target, powers_w: Sequence[float] = STATIC_W
) -> list[SweepPoint]:
    """Return the pass at each static power per array in W, all else equal."""
    return [
        SweepPoint("static power per array", w, "W", run(replace(target, static=replace(target.static, array_w=w))))
        for w in powers_w
    ]


def sweep_bandwidth(
    run: Callable[[Target], Simulation], target: Target, bandwidths_b_per_s: Sequence[float]
) -> list[SweepPoint]:
    """Return the pass at each peak DRAM bandwidth in bytes per second, all else equal."""
    return [
        SweepPoint("bandwidth", b, "B/s", run(replace(target, dram=replace(target.dram, bandwidth_b_per_s=b))))
        for b in bandwidths_b_per_s
    ]
