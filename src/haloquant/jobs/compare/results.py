"""Gather the results of a job: simulate every finished method on every machine, and add the warnings for the reader."""

from collections.abc import Mapping
from dataclasses import replace

import msgspec
import numpy as np

from haloquant.accel.results import Simulation
from haloquant.accel.target import Target
from haloquant.accel.workload.prefill_decode import Workload
from haloquant.dvfs.classes import Classes
from haloquant.errors import InputError
from haloquant.jobs.compare.gpu_results import gpu_rows
from haloquant.jobs.compare.method_files import MethodResult
from haloquant.jobs.compare.new_silicon_results import new_silicon_results
from haloquant.jobs.compare.result_rows import (
    cost_row,
    distinct_points,
    method_row,
    pareto_rows,
    profile_row,
    run_method,
    timeline_rows,
)
from haloquant.jobs.compare.sweep_results import sweep_rows
from haloquant.jobs.inputs import Inputs
from haloquant.jobs.machines.drawn_tiles import draw_tiles
from haloquant.jobs.machines.method_cost import (
    ScheduledPass,
    recipe_input_bits,
    recipe_shape,
    recipe_workloads,
    with_input_bits,
    with_tile_size,
)
from haloquant.jobs.provenance import job_provenance
from haloquant.lm.devices import describe_device
from haloquant.recipe import Recipe
from haloquant.report.results import RESULTS_VERSION, CostRow, MethodRow, Results, SpanRow, TileRow
from haloquant.report.tables import headline
from haloquant.report.warnings import find_warnings
from haloquant.store.targets import read_gpu, read_systolic


def gather_results(
    recipe: Recipe,
    inputs: Inputs,
    classes: Classes,
    methods: Mapping[str, MethodResult],
    sweep: Mapping[str, MethodResult],
    sensitivity: Mapping[str, np.ndarray],
) -> Results:
    """Return all numbers of a job in one record.

    Args:
        recipe: The job's settings.
        inputs: The model and the texts.
        classes: The classes with their codebooks.
        methods: The finished methods by name; `fp16` is the reference.
        sweep: Further points on HALO's path of allocations, for the Pareto front.
        sensitivity: Sensitivity of every tile [tiles down, tiles across] of every layer.
    """
    targets = [with_tile_size(read_systolic(name), recipe.hardware.tile) for name in recipe.hardware.targets]
    shape = recipe_shape(recipe, inputs.checkpoint, inputs.name)
    passes = recipe_workloads(shape, recipe)
    reference, shown = methods["fp16"].accuracy, headline(methods)
    bits = recipe_input_bits(recipe)
    rounded = {
        name: replace(made, tiles=with_input_bits(made.tiles, bits, made.accuracy.low_shares))
        for name, made in {**sweep, **methods}.items()
    }
    everything = rounded
    if recipe.workload.shapes != "model":
        everything = {name: _on_shape(method, passes[0], recipe) for name, method in rounded.items()}
    rows: list[MethodRow] = []
    timeline: list[SpanRow] = []
    timeline_of = ""
    front: dict[str, ScheduledPass | None] = {}  # the first pass on the first machine
    for name, method in methods.items():
        costs: list[CostRow] = []
        for target in targets:
            for workload in passes:
                run = run_method(name, everything[name], workload, target, classes)
                if workload is passes[0] and target is targets[0]:
                    front[name] = run
                if run is None:
                    continue
                costs.append(cost_row(target, run.simulation))
                # The report shows the machine whose schedule uses the most operating points.
                if name == shown and workload.phase == "prefill":
                    spans = timeline_rows(run.simulation, classes, target)
                    if distinct_points(spans) > distinct_points(timeline):
                        timeline = spans
                        timeline_of = f"{name}, {run.simulation.workload} on {target.name}"
        rows.append(method_row(name, method, costs, reference, bits))
    for name in sweep:
        if name not in front:
            front[name] = run_method(name, everything[name], passes[0], targets[0], classes)
    tiles = [
        TileRow(name, layer, seen.classes.tolist(), sensitivity[layer].tolist())
        for name, method in methods.items()
        if name.startswith("halo-")
        for layer, seen in method.tiles.items()
    ]

    def simulate(name: str, workload: Workload, target: Target) -> Simulation:
        run = run_method(name, everything[name], workload, target, classes)
        if run is None:
            raise InputError(f"the method to sweep must run on the array, and {name} has no integers")
        return run.simulation

    where = "" if recipe.device in ("auto", "cpu") else f" on {describe_device(recipe.device)}"
    results = Results(
        version=RESULTS_VERSION,
        model=inputs.name,
        parameters=_parameters(inputs),
        linear_weights=methods["fp16"].bits.weights,
        evaluation=f"{inputs.evaluation.name}: {reference.description}{where}",
        evaluation_tokens=reference.tokens,
        profile=profile_row(classes),
        methods=rows,
        tiles=tiles,
        pareto=pareto_rows(everything, front),
        pareto_of=f"prefill on {targets[0].name}",
        timeline=timeline,
        timeline_of=timeline_of,
        provenance=job_provenance(recipe, inputs, classes),
        gpus=gpu_rows(
            [read_gpu(name) for name in recipe.hardware.gpus], {name: everything[name] for name in methods}, passes
        ),
        sweeps=sweep_rows([n for n in ("w4a8", shown) if methods[n].tiles], passes, targets[-1], simulate),
        new_silicon=new_silicon_results(shown, shape, everything[shown].tiles, passes, targets, classes),
        activation_bits=recipe.quantize.activation_bits,
        low_bits=bits.low_bits if bits is not None and bits.low_share else 0,
    )
    return msgspec.structs.replace(results, warnings=find_warnings(results))


def _on_shape(method: MethodResult, workload: Workload, recipe: Recipe) -> MethodResult:
    """Return the method with tiles that are drawn for the layers of a named shape."""
    return replace(method, tiles=draw_tiles(method.tiles, workload, recipe.hardware.tile, recipe.seed))


def _parameters(inputs: Inputs) -> int:
    """Return the number of parameters of the model; tensors that share their bytes count once."""
    tensors = inputs.checkpoint.tensors
    return sum(int(np.prod(t.shape)) for name, t in tensors.items() if name not in inputs.checkpoint.shared)
