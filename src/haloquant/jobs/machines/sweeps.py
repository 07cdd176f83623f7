"""One model on one machine under other conditions: other transition times, static powers, bandwidths and clocks; a
deadline; the paper's assumptions; and a graphics processor for comparison.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from haloquant.accel.chart_rows import BandwidthClockCell, limiting_resource
from haloquant.accel.deadline import DeadlineRun, meet_deadline, race_to_idle
from haloquant.accel.gpu_roofline import FLOAT16, W4A8, W4A16, W8A8, GpuFormat, WhatIf, what_if
from haloquant.accel.results import Simulation
from haloquant.accel.rival_systems import System
from haloquant.accel.system_comparison import (
    Comparison,
    SweepPoint,
    compare_runs,
    runs_at_lower_supplies,
    sweep_bandwidth,
    sweep_static,
    sweep_transition,
)
from haloquant.accel.target import GpuTarget, Target
from haloquant.accel.workload.prefill_decode import Workload, decode, prefill
from haloquant.dvfs.schedule import Policy, plan
from haloquant.dvfs.supply_modes import slowed_points, voltage_steps
from haloquant.errors import InputError
from haloquant.jobs.machines import method_cost
from haloquant.jobs.machines.new_silicon_studies import (
    MARK,
    best_runs,
    comparisons_on_new_silicon,
    elements_for,
    whole_simulation,
)
from haloquant.jobs.machines.supply_law import SupplyLaw, choose_supply_law
from haloquant.jobs.machines.systems import QuantizedModel, halo_system, rival_systems, run_system
from haloquant.records import BitCount, OperatingPoint

# Multiples of the machine's own bandwidth and base clock.
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
CLOCKS = (0.25, 0.5, 1.0, 2.0, 4.0)
ON_NEW_SILICON = ("HALO", "W8A8", "W4A8")


@dataclass(frozen=True)
class SystemPoint:
    """One system at one value of the swept quantity."""

    system: str
    point: SweepPoint


def sweep_systems(model: QuantizedModel, workload: Workload, target: Target, over: str) -> list[SystemPoint]:
    """Return HALO, W8A8 and W4A8 at every value of one quantity, each with its best schedule.

    All are on the given MAC; then each is on its best element at equal area, if elements of the MAC's library are
    known.

    Args:
        model: The model.
        workload: The pass.
        target: The machine.
        over: The quantity: `transition` (time of a transition), `static` (static power) or `bandwidth` (of the DRAM).

    Raises:
        InputError: `over` is none of these, or it is `bandwidth` and the machine's bandwidth is unlimited.
    """
    if over == "bandwidth":
        _check_limited(target)
    systems = [halo_system(model, workload, target)]
    systems += [s for s in rival_systems(model, workload, target) if s.name[:2] in ("W8", "W4")]
    found: list[SystemPoint] = []
    for system in systems:

        def run(machine: Target, system: System = system):
            return run_system(system, workload, machine, model)

        found += [SystemPoint(system.name, point) for point in _swept(run, target, over)]
    elements = elements_for(model.classes.profile, target)
    for name in ON_NEW_SILICON:

        def run_best(machine: Target, name: str = name):
            return whole_simulation(best_runs(model, workload, machine, elements, [name])[name])

        if elements and best_runs(model, workload, target, elements, [name]):
            found += [SystemPoint(name + MARK, point) for point in _swept(run_best, target, over)]
    return found


def _swept(run: Callable[[Target], Simulation], target: Target, over: str) -> list[SweepPoint]:
    if over == "transition":
        return sweep_transition(run, target)
    if over == "static":
        return sweep_static(run, target)
    if over == "bandwidth":
        return sweep_bandwidth(run, target, [f * target.dram.bandwidth_b_per_s for f in BANDWIDTHS])
    raise InputError(f"a sweep must be over transition, static or bandwidth, not {over!r}")


def bandwidth_clock_map(model: QuantizedModel, workload: Workload, target: Target) -> list[BandwidthClockCell]:
    """Return HALO's and W4A8's time, and HALO's bound, at bandwidths and base clocks around the machine's own.

    A faster base clock means a faster multiplier at the same supply: every class keeps its ratio to the base clock, and
    the sparse engine speeds up by the same factor; the memories do not.

    Raises:
        InputError: The machine's bandwidth is unlimited.
    """
    _check_limited(target)
    cells: list[BandwidthClockCell] = []
    halo = halo_system(model, workload, target)  # the tiles do not depend on the clock
    rival = next(s for s in rival_systems(model, workload, target) if s.name.startswith("W4"))
    for clock in CLOCKS:
        (sparse,) = _faster([target.spmv.point], clock)
        quick = replace(target, points=_faster(target.points, clock), spmv=replace(target.spmv, point=sparse))
        ours, theirs = (replace(system, points=_faster(system.points, clock)) for system in (halo, rival))
        for factor in BANDWIDTHS:
            machine = replace(quick, dram=replace(quick.dram, bandwidth_b_per_s=factor * quick.dram.bandwidth_b_per_s))
            run, other = (run_system(s, workload, machine, model, (Policy.PANEL,)) for s in (ours, theirs))
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
            f"a sweep over bandwidth needs a machine with a limited bandwidth, not {target.name}; "
            "choose tpuv4i_like or edge_lpddr5x"
        )


def _faster(points: Sequence[OperatingPoint], factor: float) -> tuple[OperatingPoint, ...]:
    """Return the same supplies with clocks that are `factor` times as fast."""
    return tuple(replace(point, frequency_hz=factor * point.frequency_hz) for point in points)


@dataclass(frozen=True)
class Claim:
    """HALO against one rival on one pass.

    `paper` is under the paper's assumptions, `described` on a fully described machine with the given MAC, and
    `new_silicon` on that machine at equal area, each system on its best element (None if no elements are known, or if
    not one column of either system fits).
    """

    paper: Comparison
    described: Comparison
    new_silicon: Comparison | None = None


def paper_claims(
    model: QuantizedModel, paper: Target, described: Target, tokens: int, context: int, batch: int
) -> list[Claim]:
    """Return HALO against every rival for prefill and decode, under the paper's assumptions and on a described machine.

    The paper's assumptions: its clocks for HALO's classes and its base clock for all other systems, no memory system,
    no cost of transitions, no attention. The described machine includes all of these, and each rival runs at the
    fastest clock that its own weight values meet.

    Args:
        model: The model.
        paper: The machine with the paper's clocks.
        described: The described machine.
        tokens: Tokens of the prefill.
        context: Context of the decode step, in tokens.
        batch: Number of sequences that are decoded together.
    """
    shape, elements = model.shape, elements_for(model.classes.profile, described)
    found: list[Claim] = []
    for bare, whole in (
        (prefill(shape, tokens, attention=False, head_rows=tokens), prefill(shape, tokens)),
        (decode(shape, context, batch, attention=False), decode(shape, context, batch)),
    ):
        sides = [compare_systems(model, bare, paper), compare_systems(model, whole, described)]
        new = comparisons_on_new_silicon(model, whole, described, elements) if elements else {}
        found += [Claim(a, b, new.get(b.rival.split()[0])) for a, b in zip(*sides, strict=True)]
    return found


def compare_systems(model: QuantizedModel, workload: Workload, target: Target) -> list[Comparison]:
    """Return HALO against FP16, W8A8, W4A8 and W3A8 on one pass and machine."""
    ours = run_system(halo_system(model, workload, target), workload, target, model)
    rivals = rival_systems(model, workload, target)
    return compare_runs(ours, [(rival, run_system(rival, workload, target, model)) for rival in rivals])


@dataclass(frozen=True)
class Deadlines:
    """Two ways to meet a deadline: run as fast as possible and then idle, or run at the supply with the least energy.

    `supply_factor` is the supply of `least_energy` as a share of the machine's own supply. `law` says where the delay
    at a lower supply comes from. `candidates` holds every supply that was tried, as such a share, with its simulation.
    `period_s` is the deadline, and `idle_w` the power from the end of a run to it.
    """

    race_to_idle: DeadlineRun
    least_energy: DeadlineRun
    supply_factor: float
    law: str
    candidates: tuple[tuple[float, Simulation], ...]
    period_s: float
    idle_w: float


def deadline_runs(
    model: QuantizedModel, workload: Workload, target: Target, period_s: float, idle_w: float
) -> Deadlines:
    """Return two runs of HALO: full speed and then idle, and the supply that meets the deadline with the least energy.

    Args:
        model: The model.
        workload: The pass.
        target: The machine.
        period_s: The deadline in seconds.
        idle_w: Power while idle, in watts.

    Raises:
        InfeasibleError: No supply meets the deadline; the message gives the shortest possible one.
    """
    law = choose_supply_law(model.classes.profile, target)
    factors, runs = runs_by_supply(model, workload, target, law)
    least_energy = meet_deadline(runs, period_s, idle_w)
    factor = factors[runs.index(least_energy.simulation)]
    candidates = tuple(zip(factors, runs, strict=True))
    race = race_to_idle(runs[0], period_s, idle_w)
    return Deadlines(race, least_energy, factor, law.source, candidates, period_s, idle_w)


def runs_by_supply(
    model: QuantizedModel, workload: Workload, target: Target, law: SupplyLaw
) -> tuple[list[float], list[Simulation]]:
    """Return HALO's pass at each supply of a regulator, and these supplies as shares of the machine's, descending.

    All are ordered by the policy that is fastest at the machine's own supply.
    """
    classes = model.classes
    profile, base_v = classes.profile, target.base.voltage_v
    system = halo_system(model, workload, target)
    factors = [step / base_v for step in reversed(voltage_steps(law.lowest_v, base_v))]
    delays = method_cost.delays_on_target(classes, target)

    def runs_by(policy: Policy, tried: Sequence[float]) -> list[Simulation]:
        return runs_at_lower_supplies(
            system, workload, target, profile, plan, slower, tried, policy, classes.corner,
            lambda voltage_v: delays * law.delay(voltage_v),
        )  # fmt: skip

    def slower(points: Sequence[OperatingPoint], factor: float) -> tuple[OperatingPoint, ...]:
        return slowed_points(points, law.delay, factor)

    best_policy = min(method_cost.POLICIES, key=lambda policy: runs_by(policy, factors[:1])[0].time_s)
    return factors, runs_by(best_policy, factors)


def gpu_runs(model: QuantizedModel, workload: Workload, target: GpuTarget) -> list[WhatIf]:
    """Return FP16, W8A8, W4A16, W4A8 and HALO's stored bits on a graphics processor, at each of its operating points.

    Layers that a packed model leaves in floating point stay in floating point in every format.
    """
    halo, left = GpuFormat("HALO", _stored_bits(model), 8, 8, "int8"), model.left_floating(workload)
    return [found for kind in (FLOAT16, W8A8, W4A16, W4A8, halo) for found in what_if(workload, target, kind, left)]


def _stored_bits(model: QuantizedModel) -> float:
    """Return the stored bits per weight of the model.

    A named shape has no tiles. Its bits are those of the words, plus 0.285 for 16-bit scales and 0.5 % sparse weights.
    """
    if model.tiles:
        return sum((tiles.bits for tiles in model.tiles.values()), BitCount()).per_weight
    return 3.2 * model.fast_share + 4.0 * (1 - model.fast_share) + 0.285
