"""The whole job: a recipe and an output folder in, results, packed model and report out. Finished steps are reused."""

import time
from dataclasses import dataclass
from pathlib import Path

from haloquant.jobs.compare.method_steps import all_methods, between, method
from haloquant.jobs.compare.method_tasks import spread
from haloquant.jobs.compare.results import gather
from haloquant.jobs.compare.workbench import Workbench
from haloquant.jobs.engine.tasks import THIS_PROCESS, Engine
from haloquant.jobs.inputs import Inputs, Progress, read_inputs, silent
from haloquant.jobs.provenance import versions
from haloquant.lm.export.folding import folded_tensors
from haloquant.lm.export.packed import export_packed
from haloquant.recipe import Recipe
from haloquant.records import MacProfile
from haloquant.report.markdown import render_markdown
from haloquant.report.results import Results, encode_results
from haloquant.report.tables import HEADLINE
from haloquant.store.atomic_files import claim_output, remove_all_leftovers, sole_user, write_bytes, write_text
from haloquant.store.profiles import find_profile, profile_sha256
from haloquant.store.targets import read_gpu, read_systolic


@dataclass(frozen=True)
class Job:
    """What a finished job left: the numbers, where they are, and which steps were found finished."""

    results: Results
    folder: Path
    seconds: float
    reused: tuple[str, ...]


def open_named(recipe: Recipe) -> tuple[Inputs, MacProfile]:
    """The inputs and the MAC of a job; its machines are opened too, so that a mistake shows before hours are spent.

    Raises:
        HaloquantError: something that the recipe names is not there, or is not what it should be.
    """
    for name in recipe.hardware.targets:
        read_systolic(name)
    for name in recipe.hardware.gpus:
        read_gpu(name)
    profile = find_profile(recipe.hardware.profile)
    return read_inputs(recipe), profile


def run(recipe: Recipe, out: Path, progress: Progress = silent, engine: Engine = THIS_PROCESS) -> Job:
    """Do the whole job of a recipe in the folder `out`, and return what it found.

    With more than one worker, or on a cluster, methods are tasks; the bytes written do not depend on it.

    Raises:
        HaloquantError: an input is wrong, or another run holds the folder. What was finished stays and is reused.
    """
    begin = time.monotonic()
    inputs, profile = open_named(recipe)
    bench = Workbench(recipe, inputs, profile, out, progress)
    claim_output(out)
    with sole_user(out):
        for folder in (out, out / "steps", out / "figures"):
            remove_all_leftovers(folder)
        if engine != THIS_PROCESS:
            spread(bench, out, engine)
        made = {name: method(bench, x) for name, x in all_methods(bench).items()}
        further = {name: method(bench, x) for name, x in between(bench).items()}
        results = gather(recipe, bench.inputs, bench.classes, made, further, bench.sensitivity)
        _export(bench, out)
        write_bytes(out / "results.json", encode_results(results))
        write_text(out / "results.md", render_markdown(results))
        write_report(results, out, progress)
    return Job(results, out, time.monotonic() - begin, tuple(bench.reused))


def _export(bench: Workbench, out: Path) -> None:
    """Write the headline model packed, unless this very one stands there already."""
    link = out / "model"
    if HEADLINE not in bench.folders:
        return
    layers = bench.packed(HEADLINE)
    profile = bench.profile

    def make(folder: Path) -> None:
        export_packed(
            bench.inputs.checkpoint,
            layers,
            folder / "model",
            profile_name=profile.name,
            profile_sha256=profile_sha256(profile),
            made_by=versions(),
            changed=folded_tensors(bench.inputs.checkpoint, bench.places, bench.transformed.scales),
            progress=lambda done, total: bench.progress("pack", done, total),
        )

    step, _ = bench.steps.run("packed", bench.folders[HEADLINE].name, make)
    if not link.is_symlink() or link.resolve() != (step / "model").resolve():
        link.unlink(missing_ok=True)
        link.symlink_to((step / "model").relative_to(out))


def write_report(results: Results, out: Path, progress: Progress = silent) -> None:
    """Draw the report and its figures into a folder."""
    # Imported here: the drawing libraries are an extra, and a job without them still has its numbers.
    from haloquant.report.page import draw_figures, figure_png, render_page

    drawn = draw_figures(results, lambda done, total: progress("draw", done, total))
    write_text(out / "report.html", render_page(results, drawn))
    for figure in drawn:
        write_text(out / "figures" / f"{figure.name}.svg", figure.svg)
        write_bytes(out / "figures" / f"{figure.name}.png", figure_png(figure))
