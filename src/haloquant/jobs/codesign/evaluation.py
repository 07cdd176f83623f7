"""Quantize and evaluate sets of words for real, with GPTQ on 4-bit integers as the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from haloquant.dvfs.operating_points import rows_of
from haloquant.jobs.codesign.word_losses import Choice
from haloquant.jobs.codesign.word_sets import WordSet
from haloquant.jobs.compare.accuracy import Accuracy, Protocol
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.compare.method_steps import (
    MethodStep,
    finish_methods,
    full_precision,
    halo_method,
    rival_method,
)
from haloquant.jobs.inputs import Progress
from haloquant.jobs.quantize.allocation import uniform_maps
from haloquant.jobs.quantize.task_runner import LayerStep
from haloquant.recipe import Recipe
from haloquant.records import MacProfile

PROTOCOL = Protocol(weights_alone=False, divergence=True)


@dataclass(frozen=True)
class Evaluated:
    """The rise of the loss in nats with 8-bit activations, against full precision, and what it was measured by."""

    nats: float
    accuracy: Accuracy

    @property
    def divergence_nats(self) -> float:
        """Mean divergence of its predictions from full precision with quantized weights alone, in nats a token."""
        return float(np.mean(self.accuracy.window_divergence))

    def worse_than(self, other: "Evaluated") -> bool:
        """Return whether the divergence is higher than another one by more than two standard errors.

        Divergences with quantized weights alone are compared window by window. The rise of the loss on a text of some
        thousand tokens does not tell 9 words from 16: its error is as large as the rise (`lm.evaluation.divergence`).
        With one window the mean decides.
        """
        difference = np.subtract(self.accuracy.window_divergence, other.accuracy.window_divergence)
        error = difference.std(ddof=1) / np.sqrt(difference.size) if difference.size > 1 else 0.0
        return bool(difference.mean() > 2 * error)


def reference_name(tile: int) -> str:
    """Return the name of GPTQ on 4-bit integers with one scale for each output and tile."""
    return f"gptq-w4-g{tile}"


def words_profile(profile: MacProfile, words: WordSet, name: str = "words") -> MacProfile:
    """Return a profile that holds a set of words alone, at their delays and energies.

    Raises:
        ProfileError: The profile lacks one of the words.
    """
    rows = rows_of(profile, np.array(words.words, np.int16), "the words of a design")
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
            recipe.quantize, goals=("acc-opt",), rivals=(reference_name(tile),), sweep=(), fast_words=min(count, 9),
            slow_words=count,
        ),
    )  # fmt: skip


def evaluate_choices(
    job: JobSteps,
    choices: Sequence[Choice],
    profile_of: Callable[[Choice], MacProfile],
    reference_tiles: Sequence[int],
    progress: Progress,
) -> tuple[dict[Choice, Evaluated], dict[int, Evaluated], float]:
    """Quantize and evaluate each set of words at its tile size, and GPTQ on 4-bit integers.

    One pass over the layers quantizes all of them, so that they share one calibration.

    Args:
        job: The model, the texts and the settings of quantization.
        choices: Sets of words and tile sizes.
        profile_of: Returns a MAC that holds the words.
        reference_tiles: Tile sizes of GPTQ: its groups are as long.
        progress: Called with the name of a task, its parts done and its parts in all.

    Returns:
        The loss of each choice, that of GPTQ at each tile size, and the perplexity in full precision.
    """
    own: dict[Choice, JobSteps] = {}
    steps: dict[Choice, MethodStep] = {}
    layers: list[LayerStep] = []
    for choice in choices:
        words, tile = choice
        held = words_profile(profile_of(choice), words)
        own[choice] = job.beside(words_recipe(job.recipe, words, tile, held.name), held)
        maps = uniform_maps(own[choice].passes.grids, "acc-opt")
        steps[choice] = halo_method(own[choice], "words", maps)
        if not _is_finished(job, steps[choice]):
            layers.append(own[choice].passes.layer_step(maps))
    base = {name: rival_method(job, name, name) for name in map(reference_name, reference_tiles)}
    for step in base.values():
        if step.rival is not None:
            step.rival.prepare()
    layers += [step.layers for step in base.values() if step.layers is not None and not _is_finished(job, step)]
    job.passes.quantize((), layers)
    total = len(choices) + 1
    progress("evaluate designs", 0, total)
    made = finish_methods(job, {"fp16": full_precision(job), **base})
    full = made["fp16"].accuracy.final_perplexity
    found: dict[Choice, Evaluated] = {}
    for done, (choice, step) in enumerate(steps.items()):
        progress("evaluate designs", done + 1, total)
        found[choice] = _evaluated(finish_methods(own[choice], {"words": step})["words"].accuracy, full)
    progress("evaluate designs", total, total)
    return found, {tile: _evaluated(made[reference_name(tile)].accuracy, full) for tile in reference_tiles}, full


def _is_finished(job: JobSteps, step: MethodStep) -> bool:
    return job.steps.find(step.name, step.inputs) is not None


def _evaluated(accuracy: Accuracy, full: float) -> Evaluated:
    return Evaluated(float(np.log(accuracy.final_perplexity / full)), accuracy)
