"""A job's methods as tasks: a worker quantizes and evaluates one, and its files come back to be written here.

What all methods rest on (calibration, codebooks, losses of tiles) is made here first. Workers read it from the job's
folder, and the model and texts by the recipe's own names; so on a cluster every node must see these places alike.
"""

from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from haloquant.errors import InputError
from haloquant.jobs.compare.method_steps import Planned, all_methods, between
from haloquant.jobs.compare.workbench import Workbench
from haloquant.jobs.engine.session import open_session
from haloquant.jobs.engine.tasks import Arrays, Engine, Work
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.recipe import Recipe
from haloquant.store.profiles import find_profile


@dataclass(frozen=True)
class MethodTask:
    """One method of a job, by name."""

    recipe: Recipe
    home: Path  # where the recipe's relative names begin
    out: Path
    rests: tuple[str, ...]  # folders of the steps that are there already
    key: str  # of the inputs, the MAC and the versions that the job was begun with
    name: str


def make_method(task: MethodTask, _: Arrays) -> tuple[None, Arrays]:
    """The files of the method's step, by name.

    Raises:
        InputError: the job's folder, its inputs or the packages are others here than where the job was begun.
    """
    lacking = [name for name in task.rests if not (task.out / "steps" / name).is_dir()]
    if lacking:
        raise InputError(
            f"the job's folder {task.out} must be seen by every worker, and one finds no steps/{lacking[0]} in it; "
            "put --out on storage that the whole cluster shares"
        )
    with chdir(task.home), TemporaryDirectory() as room:
        profile = find_profile(task.recipe.hardware.profile)
        bench = Workbench(task.recipe, read_inputs(task.recipe), profile, task.out, silent)
        if _begun_with(bench) != task.key:
            raise InputError(
                "every worker must see the model, the texts and the MAC that the job was begun with, and have the same "
                "versions of Python and packages, and one does not; make the nodes alike"
            )
        planned(bench)[task.name].make(Path(room))
        return None, {file.name: np.frombuffer(file.read_bytes(), np.uint8) for file in sorted(Path(room).iterdir())}


def _begun_with(bench: Workbench) -> str:
    """The hash of what a result is filed under, so that none is filed under what it was not made of."""
    return bench.steps.key("methods", [bench.evaluation_key(), bench.profile_key()])


def planned(bench: Workbench) -> dict[str, Planned]:
    """Every method of the job, by name."""
    return all_methods(bench) | between(bench)


def spread(bench: Workbench, out: Path, engine: Engine) -> None:
    """Have every method of the job as a finished step.

    Raises:
        ToolError: a worker died and the retries did not help, or the cluster does not answer.
        MissingExtraError: Ray is asked for and not installed.
    """
    missing = [x for x in planned(bench).values() if bench.steps.find(x.name, x.inputs) is None]
    for wanted in missing:
        wanted.prepare()
    if not missing:
        return
    rests = tuple(folder.name for folder in bench.folders.values())
    key = _begun_with(bench)
    works = [Work(MethodTask(bench.recipe, Path.cwd(), out.resolve(), rests, key, x.name)) for x in missing]
    with open_session(engine) as session:
        for done, (index, _, files) in enumerate(session.run(make_method, works)):
            made = missing[index]
            bench.steps.run(made.name, made.inputs, partial(_write, files))
            bench.fresh.add(made.name)
            bench.progress("methods", done + 1, len(missing))


def _write(files: Mapping[str, np.ndarray], folder: Path) -> None:
    for name, data in files.items():
        data.tofile(folder / name)
