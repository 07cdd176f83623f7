"""A job's methods as tasks: a worker evaluates a method, and this process writes the files of its step.

The layers of all methods and the steps that they read (codebooks, losses of tiles) are finished first. Workers
read them from the job's folder, and they read the model and the texts by the names in the recipe. So on a cluster
every node must have the same files at the same places.
"""

from collections.abc import Mapping, Sequence
from contextlib import chdir
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from haloquant.errors import InputError
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import MethodStep, main_methods, sweep_methods
from haloquant.jobs.engine.tasks import Arrays, Work
from haloquant.jobs.inputs import read_inputs, silent
from haloquant.recipe import Recipe
from haloquant.store.profiles import find_profile


@dataclass(frozen=True)
class MethodTask:
    """One method of a job, by name.

    Relative paths in the recipe start at the folder `home`. `finished` names the folders of the steps that
    the method reads. `key` is the hash of the inputs, the MAC and the versions that the job was started with.
    """

    recipe: Recipe
    home: Path
    out: Path
    finished: tuple[str, ...]
    key: str
    name: str


def method_files(task: MethodTask, _: Arrays) -> tuple[None, Arrays]:
    """Return the bytes of the files of the method's step, by file name.

    Raises:
        InputError: The job's folder, its inputs or the packages differ from those that the job was started with.
    """
    missing = [name for name in task.finished if not (task.out / "steps" / name).is_dir()]
    if missing:
        raise InputError(
            f"the job's folder {task.out} must be seen by every worker, and one finds no steps/{missing[0]} in it; "
            "put --out on storage that the whole cluster shares"
        )
    with chdir(task.home), TemporaryDirectory() as temporary:
        hardware = task.recipe.hardware
        folder, profile = Path(temporary), find_profile(hardware.profile, hardware.delay_basis)
        job = JobSteps(task.recipe, read_inputs(task.recipe), profile, task.out, silent)
        if _job_key(job) != task.key:
            raise InputError(
                "every worker must see the model, the texts and the MAC that the job was begun with, and have the same "
                "versions of Python and packages, and one does not; make the nodes alike"
            )
        all_methods(job)[task.name].make(folder)
        return None, {file.name: np.frombuffer(file.read_bytes(), np.uint8) for file in sorted(folder.iterdir())}


def _job_key(job: JobSteps) -> str:
    """Return the hash of the job's inputs, MAC and versions. A worker with another hash must not make a method."""
    return job.steps.key("methods", [job.key, job.evaluation_key(), job.profile_key()])


def all_methods(job: JobSteps) -> dict[str, MethodStep]:
    """Return the steps of all methods of the job, by name."""
    return main_methods(job) | sweep_methods(job)


def evaluate_methods(job: JobSteps, out: Path, steps: Sequence[MethodStep]) -> None:
    """Finish the steps of methods whose layers are finished, on the workers of the job's session.

    Raises:
        ToolError: A worker died and the retries did not help, or the cluster does not answer.
    """
    if not steps:
        return
    finished = tuple(folder.name for folder in job.folders.values())
    key = _job_key(job)
    works = [Work(MethodTask(job.recipe, Path.cwd(), out.resolve(), finished, key, step.name)) for step in steps]
    for done, (index, _, files) in enumerate(job.session.run(method_files, works)):
        step = steps[index]
        job.steps.run(step.name, step.inputs, partial(_write, files))
        job.fresh.add(step.name)
        job.progress("methods", done + 1, len(steps))


def _write(files: Mapping[str, np.ndarray], folder: Path) -> None:
    for name, data in files.items():
        data.tofile(folder / name)
