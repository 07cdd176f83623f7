"""The whole job of `haloquant run`: a recipe goes in; results, a packed model and a report come out."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import (
    MethodStep,
    finish_layers,
    finish_methods,
    main_methods,
    sweep_methods,
)
from haloquant.jobs.compare.method_tasks import evaluate_methods
from haloquant.jobs.compare.results import gather_results
from haloquant.jobs.compare.rival_export import check_exports, export_rival
from haloquant.jobs.devices import job_devices, with_devices
from haloquant.jobs.engine.session import open_session
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine
from haloquant.jobs.input_sparsity import export_with_masks
from haloquant.jobs.inputs import Inputs, Progress, read_inputs, silent
from haloquant.jobs.mixed_activations import export_with_token_bits
from haloquant.jobs.provenance import versions
from haloquant.jobs.quantize.checkpoint_passes import expert_notes, unreached_notes
from haloquant.jobs.quantize.forecast.device_room import check_device_room
from haloquant.jobs.quantize.request import made_by
from haloquant.jobs.quantize.stored_calibration import remove_calibrations
from haloquant.jobs.recipe_checks import (
    DRAWING_PACKAGES,
    MODEL_PACKAGES,
    check_job,
    check_mac,
    check_names,
    require_packages,
)
from haloquant.lm.checkpoint.full_precision_layers import left_layers, left_notes
from haloquant.lm.checkpoint.hub import origin_entry
from haloquant.lm.devices import find_devices
from haloquant.lm.export.model_folder import hash_small_files
from haloquant.lm.export.packed import export_packed
from haloquant.quant.tiles import padding_note
from haloquant.recipe import Goal, Recipe
from haloquant.records import MacProfile
from haloquant.report.markdown import render_markdown
from haloquant.report.results import Results, encode_results
from haloquant.report.tables import headline
from haloquant.store.atomic_files import claim_output, sole_user, write_bytes, write_text
from haloquant.store.profiles import find_profile, profile_sha256
from haloquant.store.temporary_paths import remove_all_leftovers


@dataclass(frozen=True)
class Job:
    """A finished job: its results, its folder, and the names of the steps that an earlier run had finished."""

    results: Results
    folder: Path
    seconds: float
    reused: tuple[str, ...]


def open_inputs(recipe: Recipe) -> tuple[Inputs, MacProfile]:
    """Return the inputs and the MAC of a job, after every check that can be made before any work.

    Raises:
        HaloquantError: Something that the recipe names is missing or malformed, or its parts do not fit together.
        MissingExtraError: A package that the job needs is not installed.
    """
    require_packages((*MODEL_PACKAGES, *DRAWING_PACKAGES), "a job", "demo")
    check_names(recipe)
    find_devices(recipe.device)
    profile = find_profile(recipe.hardware.profile, recipe.hardware.delay_basis)
    check_mac(recipe.hardware, profile)
    inputs = read_inputs(recipe)
    check_job(recipe, inputs, profile)
    return inputs, profile


def run(
    recipe: Recipe,
    out: Path,
    progress: Progress = silent,
    engine: Engine = THIS_PROCESS,
    exports: Sequence[str] = (),
) -> Job:
    """Do the whole job of a recipe in the folder `out`, and return the results.

    A step that an earlier run finished is reused. With more than one worker, or on a cluster, the methods are tasks.
    The written bytes do not depend on the engine.

    Args:
        recipe: The job's settings.
        out: The output folder.
        progress: Called with the name of a task, its parts done and its parts in all.
        engine: Where the methods run.
        exports: Rivals to write as ordinary models, by their names in the tables, to `out/rivals`.

    Raises:
        HaloquantError: An input is wrong, or another run uses the folder. Finished steps stay and are reused.
    """
    begin = time.monotonic()
    devices = job_devices(recipe.device, engine)
    recipe, engine = replace(recipe, device=devices[0]), with_devices(engine, devices)
    check_exports(recipe, exports)
    inputs, profile = open_inputs(recipe)
    rounding = () if recipe.quantize.method == "paper" else engine.devices
    check_device_room(inputs.checkpoint, rounding, "cpu", inputs.window)  # the first GPU is checked as a whole later
    claim_output(out)
    with sole_user(out):
        for folder in (out, out / "steps", out / "figures"):
            remove_all_leftovers(folder)
        scratch = out / "scratch"  # only for this run
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        with open_session(engine, scratch) as session:
            job = JobSteps(recipe, inputs, profile, out, progress, session)
            steps, sweep = main_methods(job), sweep_methods(job)
            if engine != THIS_PROCESS:
                evaluate_methods(job, out, finish_layers(job, {**steps, **sweep}.values()))
            if exports:
                finish_layers(job, {**steps, **sweep}.values())
                for name in exports:
                    export_rival(job, name, out)
            found = finish_methods(job, {**steps, **sweep})
        shutil.rmtree(scratch)
        methods, points = ({name: found[name] for name in chosen} for chosen in (steps, sweep))
        results = gather_results(recipe, job.inputs, job.classes, methods, points, job.sensitivity)
        shown = headline(steps)
        goal: Goal = next(goal for goal in recipe.quantize.goals if f"halo-{goal}" == shown)
        _export(job, goal, steps[shown], found[shown].accuracy.input_levels, out)
        results = replace(results, notes=_notes(job, steps[shown]))
        remove_calibrations(job.steps)
        write_bytes(out / "results.json", encode_results(results))
        write_text(out / "results.md", render_markdown(results))
        write_report(results, out, progress)
    return Job(results, out, time.monotonic() - begin, tuple(job.reused))


def _notes(job: JobSteps, method: MethodStep) -> list[str]:
    """Return what `haloquant quantize` says of the same model, as far as the rows of the methods do not say it."""
    checkpoint, few = job.inputs.checkpoint, {}
    if method.maps is not None and job.passes.experts:
        job.passes.quantize([method.maps])  # nothing, unless the steps of its layers were removed
        few = job.passes.poor_experts(method.maps)
    unreached = () if method.maps is None else job.passes.unreached(method.maps)
    notes = (*job.short, *checkpoint.notes, *left_notes(left_layers(checkpoint)))
    reached = (*expert_notes(few, job.passes.experts), *unreached_notes(unreached))
    return [*notes, *reached, *padding_note(tuple(job.passes.grids.values()))]


def _export(job: JobSteps, goal: Goal, method: MethodStep, levels: Mapping[str, float], out: Path) -> None:
    """Write the packed model of the headline method, unless the same model is there already.

    With sparse inputs `levels` is the sparsity of each layer that its evaluation chose, so that it is searched once.
    The thresholds are found again, since the packed model may have its inputs scaled. Its files are those that
    `haloquant quantize` writes for the same goal and calibration.
    """
    link, profile, maps = out / "model", job.profile, method.maps
    if maps is None:
        raise ValueError(f"{method.name} must be a method of HALO to be packed")
    checkpoint = job.inputs.checkpoint
    origin, copied = made_by(job.request, goal) | origin_entry(checkpoint.origin), hash_small_files(checkpoint.folder)
    key = [job.folders[method.name].name, job.profile_key(), origin, copied]
    if job.steps.find("packed", key) is None:
        job.passes.quantize([maps])  # its layers are missing if an earlier run was stopped between the two

    masked, mixed = bool(job.recipe.quantize.input_sparsity), job.recipe.quantize.activations == "mixed"

    def make(folder: Path) -> None:
        export_packed(
            checkpoint,
            job.passes.layers(maps),
            folder / ("dense" if masked or mixed else "model"),
            profile_name=profile.name,
            profile_sha256=profile_sha256(profile),
            made_by={**versions(), **origin},
            changed=job.passes.folded(),
            progress=lambda done, total: job.progress("pack", done, total),
        )
        if masked:
            export_with_masks(folder / "dense", folder / "model", job.request, job.progress, levels)
        if mixed:
            export_with_token_bits(folder / "dense", folder / "model", job.request, job.progress)
        if masked or mixed:
            shutil.rmtree(folder / "dense")

    step, _ = job.steps.run("packed", key, make)
    if not link.is_symlink() or link.resolve() != (step / "model").resolve():
        link.unlink(missing_ok=True)
        link.symlink_to((step / "model").relative_to(out))


def write_report(results: Results, out: Path, progress: Progress = silent) -> None:
    """Draw the report and its figures into a folder."""
    # Imported here, because the drawing libraries are optional; without them the numbers are written before the error.
    from haloquant.report.page import draw_figures, figure_png, render_page

    drawn = draw_figures(results, lambda done, total: progress("draw", done, total))
    write_text(out / "report.html", render_page(results, drawn))
    for figure in drawn:
        write_text(out / "figures" / f"{figure.name}.svg", figure.svg)
        write_bytes(out / "figures" / f"{figure.name}.png", figure_png(figure))
