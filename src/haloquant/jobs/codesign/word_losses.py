"""The predicted loss of each set of words at each tile size: nearest words, weighted by the Kronecker-factored Hessian.

One pass over the layers calibrates and measures all sets, and keeps the statistics for the pass that quantizes some of
them. Rounding is to the nearest word with searched scales, which is quick. Error compensation lowers the loss of all
sets; the ratio is found from the sets that are really quantized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from haloquant.jobs.codesign.word_sets import WordSet
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.engine.tasks import Arrays, Work
from haloquant.jobs.quantize.layer_tasks import statistics_arrays, statistics_of
from haloquant.jobs.quantize.task_runner import LayerPass, LayerStep
from haloquant.lm.checkpoint.reader import LinearLayer, read_layer
from haloquant.lm.checkpoint.safetensors import StoredTensor
from haloquant.quant.kronecker_loss import kronecker_losses
from haloquant.quant.layer import dequantize, quantize_weight
from haloquant.quant.shrinkage import shrunk
from haloquant.quant.sparse import split
from haloquant.quant.tiles import make_grid, uniform_map
from haloquant.records import Codebook, LayerStatistics, OperatingPoint
from haloquant.store.arrays import load_arrays, save_arrays

Choice = tuple[WordSet, int]  # a set of words and a tile size


@dataclass(frozen=True)
class WordLossTask:
    """One layer whose loss is predicted for sets of words at tile sizes."""

    layer: LinearLayer
    tensor: StoredTensor
    choices: tuple[Choice, ...]
    sparse_budget: float
    tokens: int = 0
    source: str = ""


@dataclass(frozen=True)
class WordLoss:
    """The predicted rise of the loss in nats, and how often each word is used (they sum to 1)."""

    nats: float
    frequency: np.ndarray


def measure_words(task: WordLossTask, arrays: Arrays) -> tuple[None, Arrays]:
    """Return the loss [choices] in nats and the count of each word [choices, most words] of one layer."""
    layer, known = task.layer, statistics_of(task.layer.name, task.tokens, task.source, arrays)
    if known is None:
        raise ValueError(f"the losses of words on {layer.name} must have calibration statistics")
    known, weight = shrunk(known), read_layer(task.tensor, layer)
    sparse, _ = split(weight, known, layer=layer.name, budget=task.sparse_budget)
    loss = np.zeros(len(task.choices))
    count = np.zeros((len(task.choices), max(len(words.words) for words, _ in task.choices)), np.int64)
    for index, (words, tile) in enumerate(task.choices):
        book = Codebook(words.name, np.array(words.words, np.int16), OperatingPoint(1.0, 1.0), 0.0)
        grid = make_grid(layer.out_features, layer.in_features, tile, tile)
        rounded = quantize_weight(
            weight, tiles=uniform_map(layer.name, grid), codebooks=(book,), statistics=known, sparse=sparse
        )
        loss[index] = kronecker_losses(weight, dequantize(rounded), known, grid).sum()
        count[index] = np.bincount(rounded.codes.ravel(), minlength=count.shape[1])
    return None, {"loss": loss, "count": count}


def predict_losses(job: JobSteps, choices: Sequence[Choice]) -> dict[Choice, WordLoss]:
    """Return the predicted loss of the whole model for each set of words at its tile size."""
    runner, checkpoint = job.passes.runner, job.inputs.checkpoint
    inputs = [job.key, [[list(words.words), tile] for words, tile in choices]]

    def work(layer: LinearLayer, known: LayerStatistics | None) -> Work:
        about = (0, "") if known is None else (known.tokens, known.source)
        budget = job.recipe.quantize.sparse_budget
        task = WordLossTask(layer, checkpoint.tensors[layer.tensor], tuple(choices), budget, *about)
        return Work(task, statistics_arrays(known))

    def save(folder: Path, _: LinearLayer, __: Any, arrays: Arrays) -> None:
        save_arrays(folder / "losses.safetensors", arrays)

    step = LayerStep(lambda layer: (f"words-{layer.name}", inputs), measure_words, work, save)
    runner.run(LayerPass("measure words", checkpoint.layers, (step,), kept=True))
    found = [load_arrays(runner.folder(step.key(layer)) / "losses.safetensors") for layer in checkpoint.layers]
    loss = np.sum([part["loss"] for part in found], axis=0)
    count = np.sum([part["count"] for part in found], axis=0)
    return {
        (words, tile): WordLoss(float(loss[i]), count[i, : len(words.words)] / count[i].sum())
        for i, (words, tile) in enumerate(choices)
    }


def compensated(losses: Mapping[Choice, WordLoss], exact: Mapping[Choice, float]) -> float:
    """Return the ratio of evaluated to predicted losses: the geometric mean of those that are above 0; 1 without."""
    ratios = [nats / losses[choice].nats for choice, nats in exact.items() if min(nats, losses[choice].nats) > 0]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else 1.0
