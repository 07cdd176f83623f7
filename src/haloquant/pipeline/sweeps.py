"""One model on one machine: other transition times and static powers, a deadline, the paper's premises."""

from collections.abc import Sequence
from dataclasses import dataclass

from haloquant.accel.baselines import System
from haloquant.accel.compare import (
    SweepPoint,
    Versus,
    slowed_runs,
    sweep_bandwidth,
    sweep_static,
    sweep_transition,
    versus,
)
from haloquant.accel.gpu import FLOAT16, W4A8, W8A8, GpuFormat, WhatIf, what_if
from haloquant.accel.modes import Timed, meet_deadline, race_to_idle
from haloquant.accel.target import GpuTarget, Target
from haloquant.accel.workload import Workload, decode, prefill
from haloquant.dvfs.modes import alpha_power, slowed_points, voltage_steps
from haloquant.dvfs.points import vf_curve
from haloquant.dvfs.schedule import plan
from haloquant.errors import InfeasibleError, InputError
from haloquant.pipeline import machines
from haloquant.pipeline.machines import Loaded
from haloquant.types import MacProfile, OperatingPoint

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
ASSUMED_THRESHOLD_V, ASSUMED_ALPHA = 0.35, 1.3  # for profiles of fewer than three voltages; said where it is used


@dataclass(frozen=True)
class Swept:
    """One system at one value of what was swept."""

    system: str
    point: SweepPoint


def sweep(loaded: Loaded, workload: Workload, target: Target, over: str) -> list[Swept]:
    """Return HALO, W8A8 and W4A8 at every value of `transition`, `static` or `bandwidth`, each by its best schedule.

    Raises:
        InputError: if `over` is none of these.
    """
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


@dataclass(frozen=True)
class Claim:
    """One pass of HALO beside one rival, under the paper's premises and on a described machine."""

    paper: Versus
    honest: Versus


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


def _against(loaded: Loaded, workload: Workload, target: Target) -> list[Versus]:
    ours = machines.run_system(machines.halo_system(loaded, workload, target, "boost"), workload, target, loaded)
    rivals = machines.rivals(loaded, workload, target)
    return versus(ours, [(rival, machines.run_system(rival, workload, target, loaded)) for rival in rivals])


@dataclass(frozen=True)
class Deadlines:
    """Two ways to be in time. `law` says where the delay at a lower supply came from."""

    race: Timed
    paced: Timed
    supply_factor: float
    law: str


def deadline(loaded: Loaded, workload: Workload, target: Target, period_s: float, idle_w: float) -> Deadlines:
    """Return HALO racing and then idling, and HALO at the supply with the least energy that is still in time.

    Raises:
        InfeasibleError: if no supply is in time; it says the least possible.
    """
    system = machines.halo_system(loaded, workload, target, "boost")
    threshold, alpha, law = _law(loaded.classes.profile)
    curve = alpha_power(threshold, alpha, target.base.voltage_v)
    steps = voltage_steps(1.05 * threshold, target.base.voltage_v)
    factors = [step / target.base.voltage_v for step in reversed(steps)]

    def slower(points: Sequence[OperatingPoint], factor: float) -> tuple[OperatingPoint, ...]:
        return slowed_points(points, curve, factor)

    profile = loaded.classes.profile
    runs = slowed_runs(system, workload, target, profile, plan, slower, factors, corner=loaded.classes.corner)
    paced = meet_deadline(runs, period_s, idle_w)
    return Deadlines(race_to_idle(runs[0], period_s, idle_w), paced, factors[runs.index(paced.simulation)], law)


def _law(profile: MacProfile) -> tuple[float, float, str]:
    """Threshold, exponent and their origin: the profile's own voltages where it has three."""
    try:
        curve = vf_curve(profile)
    except InfeasibleError:
        said = (
            f"assumed: alpha-power law, {ASSUMED_THRESHOLD_V} V and {ASSUMED_ALPHA}; the profile has too few voltages"
        )
        return ASSUMED_THRESHOLD_V, ASSUMED_ALPHA, said
    return curve.threshold_v, curve.alpha, f"measured: fitted to {len(curve.voltage_v)} voltages of the profile"


def on_gpu(loaded: Loaded, workload: Workload, target: GpuTarget) -> list[WhatIf]:
    """Return FP16, W8A8, W4A8 and HALO's bits on a graphics processor, at each of its points."""
    fast = loaded.fast_share
    halo = GpuFormat("HALO", 3.2 * fast + 4.0 * (1 - fast) + 0.285, 8, 8, "int8")  # words, 16-bit scales, 0.5 % sparse
    return [found for kind in (FLOAT16, W8A8, W4A8, halo) for found in what_if(workload, target, kind)]
