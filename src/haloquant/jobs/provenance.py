"""What the results of a job depend on: versions of packages, and hashes of its model, texts and MAC profile."""

import platform
from importlib.metadata import PackageNotFoundError, version

import msgspec

from haloquant.dvfs.classes import Classes
from haloquant.jobs.inputs import Inputs
from haloquant.lm.checkpoint.hub import origin_entry
from haloquant.recipe import Recipe

_PACKAGES = ("haloquant", "numpy", "scipy", "numba", "torch", "transformers", "tokenizers", "safetensors")


def versions() -> dict[str, str]:
    """Return the version of Python, the type of machine, and the version of each package that can change a result."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def job_provenance(recipe: Recipe, inputs: Inputs, classes: Classes) -> dict[str, str]:
    """Return the origin of the results of a job, by name: the hashes of its inputs, its recipe and the versions."""
    return {
        **origin_entry(inputs.checkpoint.origin),
        "model sha256": inputs.model_sha256,
        "calibration": f"{inputs.calibration.name}, sha256 {inputs.calibration.sha256}",
        "evaluation": f"{inputs.evaluation.name}, sha256 {inputs.evaluation.sha256}",
        "seed": str(recipe.seed),
        **{f"profile {key}": value for key, value in classes.profile.provenance.items()},
        **versions(),
        "recipe": msgspec.json.encode(recipe, order="deterministic").decode(),
    }
