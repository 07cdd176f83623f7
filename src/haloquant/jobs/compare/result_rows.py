"""Rows of the results for methods: their cost on a machine, their place on the Pareto front, and the MAC's profile."""

from collections.abc import Mapping

import numpy as np

from haloquant.accel.bit_operations import bops
from haloquant.accel.results import Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.classes import Classes
from haloquant.jobs.compare.accuracy import Accuracy, rise_error
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.compare.rivals import clock_ratio
from haloquant.jobs.machines.method_cost import ScheduledPass, best_pass, class_points, single_class_point
from haloquant.records import Corner, InputBits, LayerTiles, MacProfile, OperatingPoint
from haloquant.report.results import ClassRow, CostRow, MethodRow, ParetoRow, ProfileRow, SpanRow
from haloquant.store.profiles import has_accumulator, read_profile, shipped_profiles


def run_method(
    name: str, method: MethodResult, workload: Workload, target: Target, classes: Classes
) -> ScheduledPass | None:
    """Simulate one pass of a method on a machine.

    The result is None for a method that needs a floating-point multiplier, because the array cannot run it. Full
    precision is the exception.
    """
    if not method.tiles and name != "fp16":
        return None
    return best_pass(workload, method.tiles, _points(name, method, target, classes), target, classes, name)


def _points(name: str, method: MethodResult, target: Target, classes: Classes) -> tuple[OperatingPoint, ...]:
    """Return the operating point of each of a method's classes on a machine."""
    if name.startswith("halo-"):
        return class_points(target, classes)
    if method.tiles:
        return single_class_point(target, clock_ratio(method.tiles, classes))
    return (target.base,)


def method_row(
    name: str, method: MethodResult, costs: list[CostRow], reference: Accuracy, inputs: InputBits | None
) -> MethodRow:
    """Return the row of one method; `reference` is the accuracy of full precision.

    `inputs` are the bits of rounded inputs; None, of inputs that are not rounded, counts as 8 in the bit operations.
    """
    family = "halo" if name.startswith("halo-") else "reference" if name == "fp16" else "rival"
    return MethodRow(
        name,
        family,
        method.bits.per_weight,
        method.accuracy.perplexity,
        method.accuracy.perplexity_a8,
        costs,
        fast_fraction(method.tiles) if family == "halo" else None,
        list(method.notes),
        rise_error(method.accuracy, reference) if family != "reference" else None,
        sum(bops(part, 8 if inputs is None else inputs.mean) for part in method.tiles.values())
        if method.tiles
        else None,
        method.accuracy.input_density,
    )


def fast_fraction(tiles: Mapping[str, LayerTiles]) -> float:
    """Return the share of the tiles that are in the fastest class."""
    classes = np.concatenate([seen.classes.ravel() for seen in tiles.values()])
    return float(np.mean(classes == 0))


def cost_row(target: Target, simulation: Simulation) -> CostRow:
    """Return the time and energy of one pass on one machine."""
    total = simulation.total
    return CostRow(
        target.name, simulation.phase, dict(total.time_s), dict(total.energy_j), total.transitions, _bounds(simulation)
    )


def _bounds(simulation: Simulation) -> dict[str, float]:
    """Return, for each bound, the share of the busy time in which it limits the speed."""
    shares: dict[str, float] = {}
    for segment in simulation.segments:
        shares[segment.bound] = shares.get(segment.bound, 0.0) + segment.busy_s
    whole = sum(shares.values())
    return {bound: busy / whole for bound, busy in shares.items()} if whole else {}


def pareto_rows(methods: Mapping[str, MethodResult], passes: Mapping[str, ScheduledPass | None]) -> list[ParetoRow]:
    """Return perplexity, time and energy of one pass for each of HALO's methods; `passes` are those of `methods`."""
    rows: list[ParetoRow] = []
    for name, run in passes.items():
        if not name.startswith("halo-") or run is None:
            continue
        method = methods[name]
        total, goal = run.simulation.total, name.removeprefix("halo-")
        rows.append(
            ParetoRow(
                fast_fraction(method.tiles),
                method.accuracy.final_perplexity,
                total.total_time_s,
                total.total_energy_j,
                "" if goal.isdigit() else goal,
            )
        )
    return rows


def timeline_rows(simulation: Simulation, classes: Classes, target: Target) -> list[SpanRow]:
    """Return the operating point of the array over the time of one pass, segment by segment."""
    points = class_points(target, classes)
    names = {point: book.name for point, book in zip(points, classes.codebooks, strict=True)}
    return [
        SpanRow(
            segment.start_s,
            segment.end_s,
            segment.group,
            names.get(segment.point, "base"),
            segment.point.voltage_v,
            segment.point.frequency_hz,
        )
        for segment in simulation.segments
    ]


def distinct_points(spans: list[SpanRow]) -> int:
    """Return the number of different operating points in a timeline."""
    return len({(span.voltage_v, span.frequency_hz) for span in spans})


def profile_row(classes: Classes) -> ProfileRow:
    """Return the row of the MAC: its profile at the job's corner, its classes, and the fastest MAC of the same kind."""
    profile, corner = classes.profile, classes.corner
    where = profile.corners[corner]
    return ProfileRow(
        profile.name,
        profile.description,
        f"{where.name} ({where.process}, {where.voltage_v:g} V, {where.temperature_c:g} °C)",
        profile.weights.tolist(),
        profile.delay_s[corner].tolist(),
        profile.energy_j[corner].tolist(),
        [
            ClassRow(b.name, b.values.tolist(), b.point.voltage_v, b.point.frequency_hz, b.slack_s)
            for b in classes.codebooks
        ],
        *_fastest_mac(profile, where),
        profile.provenance.get("delay", ""),
    )


def _fastest_mac(profile: MacProfile, corner: Corner) -> tuple[str, float]:
    """Return the name and the period in seconds of the fastest MAC of the same kind at the same corner.

    The period is that of the slowest weight value. The MAC is this profile or one that comes with the package.
    """
    found = {profile.name: float(profile.delay_s[0].max())}
    for path in shipped_profiles().values():
        other = read_profile(path)
        alike = has_accumulator(other) == has_accumulator(profile) and len(other.weights) == len(profile.weights)
        if other.corners[0] == corner and alike:
            found[other.name] = float(other.delay_s[0].max())
    name = min(found, key=lambda known: found[known])
    return name, found[name]
