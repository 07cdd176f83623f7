"""One model on one machine: other transition times and static powers, a deadline, the paper's premises."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from haloquant.accel.chart_rows import BandwidthClockCell, limiting_resource
from haloquant.accel.comparison import (
    Comparison,
    SweepPoint,
    compare_runs,
    runs_at_lower_supplies,
    sweep_bandwidth,
    sweep_static,
    sweep_transition,
)
from haloquant.accel.deadline import DeadlineRun, meet_deadline, race_to_idle
from haloquant.accel.gpu_roofline import FLOAT16, W4A8, W8A8, GpuFormat, WhatIf, what_if
from haloquant.accel.results import Simulation
from haloquant.accel.rivals import System
from haloquant.accel.target import GpuTarget, Target
from haloquant.accel.workload.passes import Workload, decode, prefill
from haloquant.dvfs.schedule import Policy, plan
from haloquant.dvfs.supply_modes import slowed_points, voltage_steps
from haloquant.errors import InputError
from haloquant.jobs.machines import method_cost
from haloquant.jobs.machines import systems as machines
from haloquant.jobs.machines.supply_law import supply_law
from haloquant.jobs.machines.systems import Loaded
from haloquant.records import BitCount, OperatingPoint

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the machine's own
CLOCKS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Swept:
    """One system at one value of what was swept."""

    system: str
    point: SweepPoint


def sweep(loaded: Loaded, workload: Workload, target: Target, over: str) -> list[Swept]:
    """Return HALO, W8A8 and W4A8 at every value of `transition`, `static` or `bandwidth`, each by its best schedule.

    Raises:
        InputError: if `over` is none of these, or a bandwidth is to be varied that the machine does not limit.
    """
    if over == "bandwidth":
        _check_limited(target)
    systems = [machines.halo_system(loaded, workload, target, "boost")]
    systems += [s for s in machines.rivals(loaded, workload, target) if s.name[:2] in ("W8", "W4")]
    found: list[Swept] = []
    for system in systems:

        def run(machine: Target, system: System = system):
            return machines.run_system(system, workload, machine, loaded)

        if over == "transition":
            points = sweep_transition(run, target)
        elif over == "static":
            points = sweep_static(run, target)
        elif over == "bandwidth":
            points = sweep_bandwidth(run, target, [f * target.dram.bandwidth_b_per_s for f in BANDWIDTHS])
        else:
            raise InputError(f"a sweep must be over transition, static or bandwidth, not {over!r}.")
        found += [Swept(system.name, point) for point in points]
    return found


def bandwidth_clock_map(loaded: Loaded, workload: Workload, target: Target) -> list[BandwidthClockCell]:
    """Return HALO beside W4A8 at every bandwidth and base clock around the machine's own, and the bound that held.

    A faster base clock is that of a faster multiplier at the same supply: every class keeps its ratio to it, and the
    sparse engine follows; memories do not.

    Raises:
        InputError: if the machine's bandwidth is without a limit.
    """
    _check_limited(target)
    cells: list[BandwidthClockCell] = []
    halo = machines.halo_system(loaded, workload, target, "boost")  # its tiles do not depend on the clock
    rival = next(s for s in machines.rivals(loaded, workload, target) if s.name.startswith("W4"))
    for clock in CLOCKS:
        (sparse,) = _faster([target.spmv.point], clock)
        quick = replace(target, points=_faster(target.points, clock), spmv=replace(target.spmv, point=sparse))
        ours, theirs = (replace(system, points=_faster(system.points, clock)) for system in (halo, rival))
        for factor in BANDWIDTHS:
            machine = replace(quick, dram=replace(quick.dram, bandwidth_b_per_s=factor * quick.dram.bandwidth_b_per_s))
            run, other = (machines.run_system(s, workload, machine, loaded, (Policy.PANEL,)) for s in (ours, theirs))
            cells.append(
                BandwidthClockCell(
                    workload.phase, target.name, machine.dram.bandwidth_b_per_s, machine.base.frequency_hz,
                    clock == factor == 1.0, run.time_s, limiting_resource(run), rival.name, other.time_s,
                    other.time_s / run.time_s,
                )
            )  # fmt: skip
    return cells


def _check_limited(target: Target) -> None:
    if math.isinf(target.dram.bandwidth_b_per_s):
        raise InputError(
            f"a sweep over bandwidth must be of a machine with a limited one, not {target.name}; "
            "tpuv4i_like or edge_lpddr5x would do."
        )


def _faster(points: Sequence[OperatingPoint], factor: float) -> tuple[OperatingPoint, ...]:
    """The same supplies at clocks that are `factor` times as fast."""
    return tuple(replace(point, frequency_hz=factor * point.frequency_hz) for point in points)


@dataclass(frozen=True)
class Claim:
    """One pass of HALO beside one rival, under the paper's premises and on a described machine."""

    paper: Comparison
    honest: Comparison


def claims(loaded: Loaded, paper: Target, honest: Target, tokens: int, context: int, batch: int) -> list[Claim]:
    """Return HALO against every rival in both modes, prefill and decode.

    Paper mode: the paper's clocks for HALO's classes and its base for everything else, no memory system, no transition
    cost, no attention. Honest mode: the machine as described, attention and cache included, rivals at whatever clock
    their own weight values meet.
    """
    shape = loaded.shape
    found: list[Claim] = []
    for bare, whole in (
        (prefill(shape, tokens, attention=False, head_rows=tokens), prefill(shape, tokens)),
        (decode(shape, context, batch, attention=False), decode(shape, context, batch)),
    ):
        sides = [_against(loaded, bare, paper), _against(loaded, whole, honest)]
        found += [Claim(a, b) for a, b in zip(*sides, strict=True)]
    return found


def _against(loaded: Loaded, workload: Workload, target: Target) -> list[Comparison]:
    ours = machines.run_system(machines.halo_system(loaded, workload, target, "boost"), workload, target, loaded)
    rivals = machines.rivals(loaded, workload, target)
    return compare_runs(ours, [(rival, machines.run_system(rival, workload, target, loaded)) for rival in rivals])


@dataclass(frozen=True)
class Deadlines:
    """Two ways to be in time, out of `candidates`: every supply tried, as a share of the machine's own, and its run.

    `law` says where the delay at a lower supply came from.
    """

    race: DeadlineRun
    paced: DeadlineRun
    supply_factor: float
    law: str
    candidates: tuple[tuple[float, Simulation], ...]


def deadline(loaded: Loaded, workload: Workload, target: Target, period_s: float, idle_w: float) -> Deadlines:
    """Return HALO racing and then idling, and HALO at the supply with the least energy that is still in time.

    Raises:
        InfeasibleError: if no supply is in time; it says the least possible.
    """
    classes = loaded.classes
    profile, base_v = classes.profile, target.base.voltage_v
    system = machines.halo_system(loaded, workload, target, "boost")
    law = supply_law(profile, target)
    factors = [step / base_v for step in reversed(voltage_steps(law.lowest_v, base_v))]
    carried = method_cost.carried_delays(classes, target)

    def runs_by(policy: Policy, tried: Sequence[float]) -> list[Simulation]:
        return runs_at_lower_supplies(
            system, workload, target, profile, plan, slower, tried, policy, classes.corner,
            lambda voltage_v: carried * law.delay(voltage_v),
        )  # fmt: skip

    def slower(points: Sequence[OperatingPoint], factor: float) -> tuple[OperatingPoint, ...]:
        return slowed_points(points, law.delay, factor)

    fastest = min(method_cost.POLICIES, key=lambda policy: runs_by(policy, factors[:1])[0].time_s)
    runs = runs_by(fastest, factors)
    paced = meet_deadline(runs, period_s, idle_w)
    factor = factors[runs.index(paced.simulation)]
    race = race_to_idle(runs[0], period_s, idle_w)
    return Deadlines(race, paced, factor, law.said, tuple(zip(factors, runs, strict=True)))


def on_gpu(loaded: Loaded, workload: Workload, target: GpuTarget) -> list[WhatIf]:
    """Return FP16, W8A8, W4A8 and HALO's bits on a graphics processor, at each of its points.

    What a packed model leaves in floating point is left so in every format.
    """
    halo, left = GpuFormat("HALO", _stored_bits(loaded), 8, 8, "int8"), loaded.left_floating(workload)
    return [found for kind in (FLOAT16, W8A8, W4A8, halo) for found in what_if(workload, target, kind, left)]


def _stored_bits(loaded: Loaded) -> float:
    """Bits per weight: as a packed model stores them, or for a shape its words, 16-bit scales and 0.5 % sparse."""
    if loaded.tiles:
        return sum((tiles.bits for tiles in loaded.tiles.values()), BitCount()).per_weight
    return 3.2 * loaded.fast_share + 4.0 * (1 - loaded.fast_share) + 0.285
