"""From finished methods to results: every method simulated on every machine, and what a reader must be told."""

from collections.abc import Mapping

import msgspec
import numpy as np

from haloquant.accel.results import Simulation
from haloquant.accel.target import Target
from haloquant.dvfs.classes import Classes
from haloquant.jobs.compare.methods import Accuracy, clock_ratio, rise_error
from haloquant.jobs.compare.outside_array import gpu_rows, sweep_rows
from haloquant.jobs.compare.stored import Method
from haloquant.jobs.inputs import Inputs
from haloquant.jobs.machines import method_cost
from haloquant.jobs.provenance import job_provenance
from haloquant.recipe import Recipe
from haloquant.records import Corner, LayerTiles, MacProfile
from haloquant.report.results import (
    RESULTS_VERSION,
    ClassRow,
    CostRow,
    MethodRow,
    ParetoRow,
    ProfileRow,
    Results,
    SpanRow,
    TileRow,
)
from haloquant.report.tables import HEADLINE
from haloquant.report.warnings import find_warnings
from haloquant.store.profiles import has_accumulator, read_profile, shipped_profiles
from haloquant.store.targets import read_gpu, read_systolic


def gather(
    recipe: Recipe,
    inputs: Inputs,
    classes: Classes,
    made: Mapping[str, Method],
    between: Mapping[str, Method],
    sensitivity: Mapping[str, np.ndarray],
) -> Results:
    """Simulate every method and put all numbers into one record; `between` are further points of HALO's sweep."""
    targets = [method_cost.with_array(read_systolic(name), recipe.hardware.tile) for name in recipe.hardware.targets]
    work = method_cost.workloads(method_cost.shape_of(recipe, inputs.checkpoint, inputs.name), recipe)
    rows: list[MethodRow] = []
    timeline: list[SpanRow] = []
    timeline_of = ""
    for name, method in made.items():
        costs: list[CostRow] = []
        for target in targets:
            for workload in work:
                run = _run(name, method, workload, target, classes)
                if run is None:
                    continue
                costs.append(_cost_row(target, run.simulation))
                # The machine whose schedule moves most is the one to look at; where one clock wins the line is flat.
                if name == HEADLINE and workload.phase == "prefill":
                    spans = _spans(run.simulation, classes, method_cost.class_points(target, classes))
                    if _points(spans) > _points(timeline):
                        timeline = spans
                        timeline_of = f"{name}, {run.simulation.workload} on {target.name}"
        rows.append(_method_row(name, method, costs, made["fp16"].accuracy))
    tiles = [
        TileRow(name, layer, seen.classes.tolist(), sensitivity[layer].tolist())
        for name, method in made.items()
        if name.startswith("halo-")
        for layer, seen in method.tiles.items()
    ]
    accuracy = made["fp16"].accuracy

    def simulation(name: str, workload: method_cost.Workload, target: Target) -> Simulation:
        tiles = made[name].tiles
        return method_cost.run_on(
            workload, tiles, _at(name, made[name], target, classes), target, classes, name
        ).simulation

    results = Results(
        version=RESULTS_VERSION,
        model=inputs.name,
        parameters=_parameters(inputs),
        linear_weights=made["fp16"].bits.weights,
        evaluation=f"{inputs.evaluation.name}: {accuracy.description}",
        evaluation_tokens=accuracy.tokens,
        profile=_profile_row(classes),
        methods=rows,
        tiles=tiles,
        pareto=_pareto({**made, **between}, work[0], targets[0], classes),
        pareto_of=f"prefill on {targets[0].name}",
        timeline=timeline,
        timeline_of=timeline_of,
        provenance=job_provenance(recipe, inputs, classes),
        gpus=gpu_rows([read_gpu(name) for name in recipe.hardware.gpus], made, work),
        sweeps=sweep_rows(
            [n for n in ("w4a8", HEADLINE) if n in made and made[n].tiles], work, targets[-1], simulation
        ),
    )
    return msgspec.structs.replace(results, warnings=find_warnings(results))


def _pareto(
    methods: Mapping[str, Method], workload: method_cost.Workload, target: Target, classes: Classes
) -> list[ParetoRow]:
    """HALO's points: perplexity, and time and energy of one pass."""
    rows: list[ParetoRow] = []
    for name, method in methods.items():
        if not name.startswith("halo-"):
            continue
        run = _run(name, method, workload, target, classes)
        if run is None:
            continue
        total, accuracy = run.simulation.total, method.accuracy
        goal = name.removeprefix("halo-")
        rows.append(
            ParetoRow(
                fast_fraction(method.tiles),
                accuracy.perplexity if accuracy.perplexity_a8 is None else accuracy.perplexity_a8,
                total.total_time_s,
                total.total_energy_j,
                "" if goal.isdigit() else goal,
            )
        )
    return rows


def _run(
    name: str, method: Method, workload: method_cost.Workload, target: Target, classes: Classes
) -> method_cost.Run | None:
    """Simulate a method; None where it has neither an integer form nor is the floating-point reference."""
    if not method.tiles and name != "fp16":
        return None
    return method_cost.run_on(workload, method.tiles, _at(name, method, target, classes), target, classes, name)


def _at(name: str, method: Method, target: Target, classes: Classes) -> tuple[method_cost.OperatingPoint, ...]:
    """The operating point of each of a method's classes on a machine."""
    if name.startswith("halo-"):
        return method_cost.class_points(target, classes)
    if method.tiles:
        return method_cost.single_point(target, clock_ratio(method.tiles, classes))
    return (target.base,)


def _cost_row(target: Target, simulation: Simulation) -> CostRow:
    total = simulation.total
    return CostRow(
        target.name, simulation.phase, dict(total.time_s), dict(total.energy_j), total.transitions, _bounds(simulation)
    )


def _bounds(simulation: Simulation) -> dict[str, float]:
    """Share of the busy time by the bound that held."""
    shares: dict[str, float] = {}
    for segment in simulation.segments:
        shares[segment.bound] = shares.get(segment.bound, 0.0) + segment.busy_s
    whole = sum(shares.values())
    return {bound: busy / whole for bound, busy in shares.items()} if whole else {}


def _spans(simulation: Simulation, classes: Classes, points: tuple[method_cost.OperatingPoint, ...]) -> list[SpanRow]:
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


def _points(spans: list[SpanRow]) -> int:
    """How many operating points a timeline visits."""
    return len({(span.voltage_v, span.frequency_hz) for span in spans})


def _method_row(name: str, method: Method, costs: list[CostRow], reference: Accuracy) -> MethodRow:
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
    )


def fast_fraction(tiles: Mapping[str, LayerTiles]) -> float:
    """Share of tiles in the fastest class."""
    classes = np.concatenate([seen.classes.ravel() for seen in tiles.values()])
    return float(np.mean(classes == 0))


def _profile_row(classes: Classes) -> ProfileRow:
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
        *_best_mac(profile, where),
    )


def _best_mac(profile: MacProfile, corner: Corner) -> tuple[str, float]:
    """The fastest MAC of its kind for all weight values that this library could have given: name and period."""
    found = {profile.name: float(profile.delay_s[0].max())}
    for path in shipped_profiles().values():
        other = read_profile(path)
        alike = has_accumulator(other) == has_accumulator(profile) and len(other.weights) == len(profile.weights)
        if other.corners[0] == corner and alike:
            found[other.name] = float(other.delay_s[0].max())
    name = min(found, key=lambda known: found[known])
    return name, found[name]


def _parameters(inputs: Inputs) -> int:
    tensors = inputs.checkpoint.tensors
    return sum(int(np.prod(t.shape)) for name, t in tensors.items() if name not in inputs.checkpoint.shared)
