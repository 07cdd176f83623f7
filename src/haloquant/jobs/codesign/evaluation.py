"""Quantize and evaluate sets of words for real, with GPTQ on 4-bit integers as the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from haloquant.jobs.codesign.word_losses import Choice
from haloquant.jobs.codesign.word_sets import WordSet
from haloquant.jobs.compare.accuracy import Accuracy
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import finish_methods, full_precision, halo_method, rival_method
from haloquant.jobs.inputs import Inputs, Progress
from haloquant.jobs.quantize.allocation import uniform_maps
from haloquant.recipe import Recipe
from haloquant.records import MacProfile

REFERENCE = "gptq-w4-g128"


@dataclass(frozen=True)
class Evaluated:
    """The rise of the loss in nats with 8-bit activations, against full precision, and what it was measured by."""

    nats: float
    accuracy: Accuracy

    def worse_than(self, other: "Evaluated") -> bool:
        """Return whether the loss is higher than another one by more than two standard errors, window by window.

        The losses of windows are those with quantized weights alone: rounded activations cost all sets alike.
        """
        mine, theirs = np.array(self.accuracy.window_nats), np.array(other.accuracy.window_nats)
        if mine.size != theirs.size or mine.size < 2:
            return self.nats > other.nats
        difference = mine - theirs
        return bool(difference.mean() > 2 * difference.std(ddof=1) / np.sqrt(difference.size))


def words_profile(profile: MacProfile, words: WordSet, name: str = "words") -> MacProfile:
    """Return a profile that holds a set of words alone, at their delays and energies."""
    rows = np.searchsorted(profile.weights, np.array(words.words, np.int16))
    return replace(
        profile, name=name, weights=profile.weights[rows], delay_s=profile.delay_s[:, rows],
        sensitised_delay_s=profile.sensitised_delay_s[:, rows], energy_j=profile.energy_j[:, rows],
        provenance={**profile.provenance, "words": words.name},
    )  # fmt: skip


def words_recipe(recipe: Recipe, words: WordSet, tile: int, profile: str) -> Recipe:
    """Return the recipe that quantizes all tiles to a set of words: the slow class of a MAC that holds no others."""
    change = msgspec.structs.replace
    count = len(words.words)
    return change(
        recipe,
        hardware=change(recipe.hardware, profile=profile, tile=tile),
        quantize=change(
            recipe.quantize, goals=("acc-opt",), rivals=(REFERENCE,), sweep=(), fast_words=min(count, 9),
            slow_words=count,
        ),
    )  # fmt: skip


def evaluate_choices(
    recipe: Recipe,
    inputs: Inputs,
    choices: Sequence[Choice],
    profile_of: Callable[[Choice], MacProfile],
    out: Path,
    progress: Progress,
) -> tuple[dict[Choice, Evaluated], Evaluated, float]:
    """Quantize and evaluate each set of words at its tile size.

    Args:
        recipe: The model, the texts and the settings of quantization.
        inputs: The opened inputs of the recipe.
        choices: Sets of words and tile sizes.
        profile_of: Returns a MAC that holds the words.
        out: Folder of finished steps.
        progress: Called with the name of a task, its parts done and its parts in all.

    Returns:
        The loss of each choice, that of GPTQ on 4-bit integers, and the perplexity in full precision.
    """
    found: dict[Choice, Evaluated] = {}
    reference: Evaluated | None = None
    full = 0.0
    for done, (words, tile) in enumerate(choices):
        progress("evaluate designs", done, len(choices))
        own = words_recipe(recipe, words, tile, "words")
        job = JobSteps(own, inputs, words_profile(profile_of((words, tile)), words), out, lambda *_: None)
        if reference is None:
            steps = {"fp16": full_precision(job), REFERENCE: rival_method(job, REFERENCE, REFERENCE)}
            made = finish_methods(job, steps)
            full = made["fp16"].accuracy.final_perplexity
            reference = _evaluated(made[REFERENCE].accuracy, full)
        maps = uniform_maps(job.passes.grids, "acc-opt")
        method = finish_methods(job, {"words": halo_method(job, "words", maps)})["words"]
        found[words, tile] = _evaluated(method.accuracy, full)
    progress("evaluate designs", len(choices), len(choices))
    if reference is None:
        raise ValueError("there must be a set of words to evaluate")
    return found, reference, full


def _evaluated(accuracy: Accuracy, full: float) -> Evaluated:
    return Evaluated(float(np.log(accuracy.final_perplexity / full)), accuracy)
