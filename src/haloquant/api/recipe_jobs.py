"""Jobs that a recipe describes: run all of it, search over MACs and tile sizes, draw its report again."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from haloquant.api.arguments import check_count, path_text, path_texts, texts
from haloquant.api.progress import Progress, reporting
from haloquant.errors import InputError
from haloquant.jobs import exploration
from haloquant.jobs.compare import job
from haloquant.jobs.compare.job import Job
from haloquant.jobs.devices import job_devices
from haloquant.jobs.engine.tasks import parse_engine
from haloquant.jobs.explain_tiles import read_results
from haloquant.lm.devices import check_device_names
from haloquant.recipe import MOST_TILE, Recipe, checked_recipe, read_recipe
from haloquant.report.charts.exploration import Point

TILES = (128, 64, 32)  # sizes that are tried where neither a recipe nor an argument says others

RecipeLike = Recipe | str | Path | None


def run(
    recipe: RecipeLike = None,
    out: str | Path = "out",
    *,
    model: str | Path | None = None,
    profile: str | Path | None = None,
    text: str | Path | None = None,
    whole_text: bool = False,
    device: str | None = None,
    engine: str = "local",
    workers: int = 1,
    export: Sequence[str] = (),
    progress: Progress = True,
) -> Job:
    """Do everything that a recipe describes: quantize, schedule, simulate, evaluate, pack and report.

    Finished steps are kept in `out` and found again by the hash of their inputs, so a stopped job continues if
    the call is repeated.

    Args:
        recipe: A `haloquant.recipe.Recipe`, or a TOML file of one. None is the job of the shipped demo model.
        out: Output folder; empty, or one that haloquant made.
        model: Model folder in place of the recipe's.
        profile: MAC profile in place of the recipe's.
        text: Evaluation text (.txt, .xz) in place of the recipe's.
        whole_text: Evaluate on the whole text, and not on the recipe's number of tokens.
        device: Where calibration, rounding and evaluation compute in place of the recipe's: "auto", "cpu", "cuda",
            "cuda:NUMBER", "cuda:all" or "cuda:0,cuda:1". With several GPUs each has a process. Rivals are rounded on
            the CPU.
        engine: "local", "ray", or "ray=ADDRESS" of a cluster.
        workers: Number of processes (local) or CPUs (ray); the bytes written do not depend on it.
        export: Names of rivals of the recipe. Each is written to `out/rivals` as a model with float32 weights, which
            transformers loads without haloquant.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The results (also in `out/results.json`), the folder, the time in seconds and the names of the reused steps.

    Raises:
        RecipeError: The recipe is not valid. (An InputError.)
        InputError: A file that the recipe names does not exist, a rival to export is not in the recipe, or `out` holds
            other files.
        BusyError: Another run holds the folder.

    Example:
        ```python
        import haloquant

        job = haloquant.run("recipe.toml", "out/mine")
        print(job.results.method("halo-bal").perplexity, job.folder / "report.html")
        ```
    """
    shown = reporting(progress)
    asked = changed(recipe, model, profile, text, whole_text, device)
    where = parse_engine(path_text("engine", engine), workers)
    folder, exports = Path(path_text("out", out)), texts("export", export)
    with shown as report:
        return job.run(asked, folder, report, where, exports)


def validate(
    recipe: RecipeLike = None,
    *,
    model: str | Path | None = None,
    profile: str | Path | None = None,
    text: str | Path | None = None,
    device: str | None = None,
    engine: str = "local",
    workers: int = 1,
) -> None:
    """Open everything that a recipe names (model, texts, profile, machines) and compute nothing.

    Args:
        recipe: As in `run`.
        model: As in `run`.
        profile: As in `run`.
        text: As in `run`.
        device: As in `run`.
        engine: As in `run`; only its syntax is checked.
        workers: As in `run`.

    Raises:
        InputError: The recipe is not valid, or a file that it names does not exist or is damaged.

    Example:
        ```python
        import haloquant

        haloquant.validate("recipe.toml")  # raises an InputError that says what is wrong
        ```
    """
    where = parse_engine(path_text("engine", engine), workers)
    asked = changed(recipe, model, profile, text, False, device)
    job_devices(asked.device, where)
    job.open_inputs(asked)


def explore(
    recipe: RecipeLike = None,
    out: str | Path = "explored",
    *,
    profiles: str | Path | Sequence[str | Path] | None = None,
    tiles: int | Sequence[int] | None = None,
    device: str | None = None,
    engine: str = "local",
    workers: int = 1,
    progress: Progress = True,
) -> tuple[Point, ...]:
    """Find the Pareto front of perplexity, time and energy over MACs, tile sizes and goals.

    Each point is a model that was quantized, evaluated and simulated. Finished steps are kept and reused, as in `run`.

    Args:
        recipe: As in `run`.
        out: Output folder; empty, or one that haloquant made. It receives explore.json, explore.html and explore.png.
        profiles: MAC profiles to try: names of shipped profiles, or files that `characterize` wrote. None takes the
            recipe's.
        tiles: Tile sizes to try, in rows (and columns) of the systolic array. None takes the recipe's, or 128, 64 and
            32 where no recipe is given.
        device: As in `run`.
        engine: "local", "ray", or "ray=ADDRESS" of a cluster.
        workers: Number of processes (local) or CPUs (ray); the bytes written do not depend on it.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        All points: goals, and points of the path between them (`quantize.sweep`). `best` marks those that no other
        point of the same machine and phase beats in perplexity, time (s) and energy (J) at once; `knee` marks the knee
        of perplexity over time for each MAC, tile size, machine and phase.

    Raises:
        InputError: An argument is not allowed, a named file does not exist, or `out` holds other files.
        BusyError: Another run holds the folder.

    Example:
        ```python
        import haloquant

        for point in haloquant.explore(tiles=[128, 64]):
            if point.best:
                print(point.target, point.phase, point.goal, point.tile, point.perplexity, point.time_s)
        ```
    """
    from haloquant.report.charts.exploration import draw_exploration  # needs the drawing libraries

    shown = reporting(progress)
    asked, where = changed(recipe, device=device), parse_engine(path_text("engine", engine), workers)
    folder = Path(path_text("out", out))
    names = (asked.hardware.profile,) if profiles is None else path_texts("profiles", profiles)
    if tiles is None:
        tiles = TILES if recipe is None else asked.hardware.tile
    sizes = (tiles,) if isinstance(tiles, int) else tiles
    if not isinstance(sizes, Sequence) or not sizes:
        raise InputError(f"tiles must be a sequence of at least one tile size, not {tiles!r:.80}")
    for size in sizes:
        check_count("a tile size", size, 1, MOST_TILE)
    with shown as report:
        points = exploration.explore(asked, names, sizes, folder, where, report)
    draw_exploration(points, folder)
    return tuple(points)


def draw_report(folder: str | Path, *, progress: Progress = True) -> Path:
    """Draw the report and the figures of a finished `run` again, from its results.json.

    Args:
        folder: Output folder of the run.
        progress: True shows it, False does not, and a callable is called with (task, steps done, steps in total).

    Returns:
        The path of report.html.

    Raises:
        InputError: The folder holds no results.
        MissingExtraError: The drawing libraries are not installed.

    Example:
        ```python
        import haloquant

        print(haloquant.draw_report("out/mine"))
        ```
    """
    shown, path = reporting(progress), Path(path_text("folder", folder))
    results = read_results(path)
    with shown as report:
        job.write_report(results, path, report)
    return path / "report.html"


def changed(
    recipe: RecipeLike,
    model: str | Path | None = None,
    profile: str | Path | None = None,
    text: str | Path | None = None,
    whole_text: bool = False,
    device: str | None = None,
) -> Recipe:
    """Return a recipe, or the recipe in a file, with the given parts in place of its own.

    Raises:
        RecipeError: The file is missing or holds no valid recipe.
    """
    replace = msgspec.structs.replace
    if recipe is None:
        recipe = Recipe()
    elif isinstance(recipe, Recipe):
        recipe = checked_recipe(recipe)
    else:
        recipe = read_recipe(Path(path_text("recipe", recipe)))
    if model is not None:
        recipe = replace(recipe, model=replace(recipe.model, path=path_text("model", model)))
    if profile is not None:
        recipe = replace(recipe, hardware=replace(recipe.hardware, profile=path_text("profile", profile)))
    if text is not None:
        recipe = replace(recipe, text=replace(recipe.text, evaluation=path_text("text", text)))
    if device is not None:
        check_device_names(device)
        recipe = replace(recipe, device=device)
    if whole_text:
        recipe = replace(recipe, text=replace(recipe.text, evaluation_tokens=0))
    return recipe
