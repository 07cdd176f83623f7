"""A rival of a job as an ordinary model: its dequantized weights in float32."""

from collections.abc import Sequence
from pathlib import Path

from haloquant.errors import InputError
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.rival_layers import RivalLayers
from haloquant.jobs.compare.rival_tasks import load_rival_weight
from haloquant.jobs.compare.rivals import REFERENCES, norm_places
from haloquant.jobs.provenance import versions
from haloquant.lm.checkpoint.hub import origin_entry
from haloquant.lm.export.dequantized import export_weights
from haloquant.lm.export.folding import folded_tensors
from haloquant.lm.export.model_folder import hash_small_files
from haloquant.recipe import Recipe

FOLDER = "rivals"  # in the job's folder: a link to each exported model


def check_exports(recipe: Recipe, names: Sequence[str]) -> None:
    """Check that the models to export are rivals of the job.

    Raises:
        InputError: One is not.
    """
    known = (*REFERENCES, *recipe.quantize.rivals)
    for name in names:
        if name not in known:
            raise InputError(f"a rival to export must be one of this job's, {', '.join(known)}, not '{name}'")


def export_rival(job: JobSteps, name: str, out: Path) -> Path:
    """Write a rival as a model that transformers loads, unless it is there already, and return its folder.

    The model has the weights that were evaluated, in float32. SmoothQuant's scales are folded: norms are divided by
    them and weights multiplied, so the inputs of layers are those whose rounding to 8 bits was evaluated.

    Args:
        job: The job. The rival's layers may be finished; they are kept.
        name: The rival's name in the tables.
        out: The job's folder.
    """
    checkpoint = job.inputs.checkpoint
    layers = RivalLayers(job, REFERENCES.get(name, name))
    key = [layers.inputs, hash_small_files(checkpoint.folder)]
    if job.steps.find(f"export-{name}", key) is None:
        layers.prepare()
        if layers.step is not None:
            job.passes.quantize((), (layers.step,))

    def make(folder: Path) -> None:
        scales = layers.scales()
        weights = (
            (layer, load_rival_weight(layers.folder(layer)) * scales.get(layer.name, 1.0))
            for layer in checkpoint.layers
        )
        export_weights(
            checkpoint,
            weights,
            folder / "model",
            dtype="F32",
            made_by={**versions(), **origin_entry(checkpoint.origin), "rival": layers.chosen.name},
            changed=folded_tensors(checkpoint, norm_places(checkpoint), scales, "F32"),
            progress=lambda done, total: job.progress(f"export {name}", done, total),
        )

    step = job.step(f"export-{name}", key, make)
    link = out / FOLDER / name
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink() or link.resolve() != (step / "model").resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(Path("..") / (step / "model").relative_to(out))
    return link
