"""What the results of a job depend on: versions of packages, and hashes of its model, texts and MAC profile."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import msgspec

from haloquant.dvfs.classes import Classes
from haloquant.jobs.inputs import Inputs
from haloquant.lm.checkpoint.hub import origin_entry
from haloquant.lm.devices import card_of
from haloquant.recipe import Recipe
from haloquant.source_code import source_sha256

_PACKAGES = ("haloquant", "numpy", "scipy", "numba", "torch", "transformers", "tokenizers", "safetensors")

# Files and folders of this package whose code can change what a finished step holds. Their hash is part of every step's
# key. The alternative is a number in each module that its author raises when results change. It can be forgotten, and
# a test that compares results finds only changes that its own inputs reach. The hash cannot be forgotten. Its price is
# that a changed comment also makes steps again; steps serve one output folder, so this costs one run of that job.
RESULT_CODE = (
    "accel", "dvfs", "errors.py", "jobs", "kernels", "lm", "quant", "recipe.py", "records", "source_code.py", "store",
    "units.py",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the version of Python, the type of machine, and the version of each package that can change a result."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Return the versions once for a process: each means to parse a package's metadata."""
    found = [("python", platform.python_version()), ("machine", platform.machine())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def step_versions() -> dict[str, str]:
    """Return what the key of every finished step covers beside the step's own inputs: all versions, and the code."""
    return {**versions(), "code sha256": _code_sha256()}


@cache
def _code_sha256() -> str:
    """Return the hash of the code, made once for a process: hundreds of files are read, and what is imported stays."""
    return source_sha256(RESULT_CODE)


def job_provenance(recipe: Recipe, inputs: Inputs, classes: Classes) -> dict[str, str]:
    """Return the origin of the results of a job, by name: the hashes of its inputs, its recipe and the versions."""
    return {
        **origin_entry(inputs.checkpoint.origin),
        "model sha256": inputs.model_sha256,
        "calibration": f"{inputs.calibration.name}, sha256 {inputs.calibration.sha256}",
        "evaluation": f"{inputs.evaluation.name}, sha256 {inputs.evaluation.sha256}",
        "seed": str(recipe.seed),
        **({"card": card} if (card := card_of(recipe.device)) else {}),
        **{f"profile {key}": value for key, value in classes.profile.provenance.items()},
        **versions(),
        "recipe": msgspec.json.encode(recipe, order="deterministic").decode(),
    }
