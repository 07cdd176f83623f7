"""The search of designs: predicted losses and simulated costs for all, then real losses for those on the front."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from haloquant.accel.elements import Element, element_of, is_whole
from haloquant.errors import InfeasibleError, InputError
from haloquant.jobs.codesign.array_cost import (
    LeftOutElement,
    Silicon,
    at_supplies,
    choices_that_fit,
    costs_of_all,
    designs_of,
    elements_left_out,
    promising,
)
from haloquant.jobs.codesign.evaluation import PROTOCOL, Evaluated, evaluate_choices
from haloquant.jobs.codesign.front import Design, DesignCost, not_beaten
from haloquant.jobs.codesign.search_result import Codesign, CodesignSettings
from haloquant.jobs.codesign.supplies import Supplies, supplies_of
from haloquant.jobs.codesign.word_losses import Choice, WordLoss, compensated, predict_losses
from haloquant.jobs.codesign.word_sets import NAMED, WordSet, check_held, word_sets
from haloquant.jobs.compare.job_steps import JobSteps
from haloquant.jobs.inputs import Inputs, Progress, read_inputs, silent
from haloquant.jobs.machines.method_cost import recipe_shape, recipe_workloads
from haloquant.jobs.machines.new_silicon import plain_element
from haloquant.jobs.quantize.stored_calibration import remove_calibrations
from haloquant.lm.checkpoint.reader import read_weight
from haloquant.quant.codebook import WeightSample, sample_groups
from haloquant.quant.sensitivity import uniform_importance
from haloquant.quant.tiles import make_grid
from haloquant.recipe import Recipe
from haloquant.records import MacProfile
from haloquant.store.atomic_files import claim_output, sole_user
from haloquant.store.targets import read_systolic

INT4 = WordSet(NAMED["INT4"], "INT4")
SAMPLE_TILE = 128  # of the weights for which words are chosen


def search_designs(
    recipe: Recipe,
    profiles: Sequence[MacProfile],
    settings: CodesignSettings,
    out: Path,
    progress: Progress = silent,
) -> Codesign:
    """Search designs for a model, and evaluate those on the front.

    Args:
        recipe: The model, the texts, the machine (its first target) and the passes.
        profiles: The elements, all of one cell library, with a plain 8-bit one among them.
        settings: What is searched.
        out: Output folder; finished steps in it are reused.
        progress: Called with the name of a task, its parts done and its parts in all.

    Raises:
        InputError: An input is wrong, or no element fits the area.
        InfeasibleError: No design has a loss as low as the settings ask for.
    """
    target = read_systolic(recipe.hardware.targets[0])
    if target.array.claimed_clocks:
        raise InputError(
            f"the machine must be one whose clocks an element sets, such as edge_lpddr5x, not {target.name}, which "
            "claims its clocks"
        )
    elements = [element_of(profile) for profile in profiles if is_whole(profile)]
    plain = plain_element(elements)
    for words in settings.words:
        check_held(words, [element.profile for element in elements])
    inputs = read_inputs(recipe)
    workloads = recipe_workloads(recipe_shape(recipe, inputs.checkpoint, inputs.name), recipe)
    supplies = supplies_of(plain.profile, target, settings.supplies)
    silicon = Silicon(target, workloads, settings.area_m2, plain, _register_j(elements), supplies)
    usable = [element.profile for element in elements]
    every = [d for tile in settings.tiles for d in designs_of(WordSet((0,), "0"), tile, usable, settings.buses)]
    left_out = elements_left_out(every, silicon)
    claim_output(out)
    with sole_user(out):
        job = JobSteps(recipe, inputs, plain.profile, out, progress, protocol=PROTOCOL)
        sets = word_sets(usable, _sample(inputs), settings.words)
        choices = choices_that_fit(sets, usable, settings.tiles, left_out)
        words_left_out = _words_left_out(sets, choices, usable, settings, left_out)
        losses = predict_losses(job, choices)
        costs = _costs(losses, usable, silicon, supplies, settings, recipe.quantize.sparse_budget, progress)
        chosen = _to_evaluate(costs, losses, settings.evaluated, settings.words)
        holder = {choice: next(p for p in usable if choice[0].held_by(p)) for choice in chosen}
        reference_costs = _reference_costs(costs)
        reference_tiles = sorted({cost.design.tile for cost in reference_costs} or {min(settings.tiles)})
        found, references, full = evaluate_choices(job, chosen, holder.__getitem__, reference_tiles, progress)
        remove_calibrations(job.steps)
    front = _front(costs, found, settings.max_loss)
    ratio = compensated(losses, {choice: each.nats for choice, each in found.items()})
    return Codesign(
        settings, tuple(front), found, losses, references, reference_costs, full, ratio,
        len(costs) // len(workloads), supplies, left_out, words_left_out,
    )  # fmt: skip


def _words_left_out(
    sets: Sequence[WordSet],
    choices: Sequence[Choice],
    profiles: Sequence[MacProfile],
    settings: CodesignSettings,
    left_out: Sequence[LeftOutElement],
) -> tuple[str, ...]:
    """Return the names of the sets of words that no element holds of those that fit the area.

    Raises:
        InputError: These are all sets.
    """
    fitting = {words for words, _ in choices}
    if not fitting:
        large = {(each.element, each.tile) for each in left_out}
        names = [p.name for p in profiles if any((p.name, tile) not in large for tile in settings.tiles)]
        raise InputError(
            f"the area must fit an element for one of the sets of words, and {settings.area_m2 * 1e6:g} mm2 fits "
            f"{', '.join(names) or 'none'}; allow more with --area-mm2, or name words with --words"
        )
    return tuple(words.name for words in sets if words not in fitting)


def _energy_time(cost: DesignCost) -> float:
    return cost.energy_time


def _reference_costs(costs: Sequence[DesignCost]) -> tuple[DesignCost, ...]:
    """Return the cost of the INT4 design with the least energy x time in each phase; none if none fits the area."""
    int4 = [cost for cost in costs if cost.design.words == INT4]
    phases = dict.fromkeys(cost.phase for cost in int4)
    return tuple(min((cost for cost in int4 if cost.phase == phase), key=_energy_time) for phase in phases)


def _costs(
    losses: dict[Choice, WordLoss],
    profiles: Sequence[MacProfile],
    silicon: Silicon,
    supplies: Supplies,
    settings: CodesignSettings,
    sparse_share: float,
    progress: Progress,
) -> list[DesignCost]:
    """Return the costs of the designs for all sets of words and tile sizes."""
    designs: list[Design] = []
    for words, tile in losses:
        made = designs_of(words, tile, profiles, settings.buses)
        if settings.promising_only:
            made = promising(made, losses[words, tile].frequency, silicon)
        designs += at_supplies(made, profiles, supplies.shares)
    return costs_of_all(
        designs, lambda d: losses[d.words, d.tile].frequency, silicon, sparse_share,
        lambda done, total: progress("simulate designs", done, total),
    )  # fmt: skip


def predicted_front(costs: Sequence[DesignCost], losses: dict[Choice, WordLoss]) -> list[DesignCost]:
    """Return the designs of each phase that no other beats in predicted loss, rate per area and energy per token."""
    found: list[DesignCost] = []
    for phase in dict.fromkeys(cost.phase for cost in costs):
        there = [cost for cost in costs if cost.phase == phase]
        found += not_beaten(
            there, lambda c: (losses[c.design.words, c.design.tile].nats, -c.tokens_per_s_mm2, c.token_j)
        )
    return found


def _to_evaluate(
    costs: Sequence[DesignCost], losses: dict[Choice, WordLoss], most: int, given: Sequence[tuple[int, ...]]
) -> list[Choice]:
    """Return the sets of words and tile sizes to evaluate, by their predicted loss.

    All given sets are evaluated, each at the tile size of its least energy x time. Of the others, those with the least
    energy x time at their loss come first, then the others on the predicted front; where there are too many, evenly
    over their losses.
    """

    def nats(cost: DesignCost) -> float:
        return losses[cost.design.words, cost.design.tile].nats

    def choices(found: Sequence[DesignCost]) -> list[Choice]:
        return sorted({(c.design.words, c.design.tile) for c in found}, key=lambda choice: losses[choice].nats)

    front = predicted_front(costs, losses)
    lean: list[DesignCost] = []
    for phase in dict.fromkeys(cost.phase for cost in front):
        there = [cost for cost in front if cost.phase == phase]
        lean += not_beaten(there, lambda c: (nats(c), c.energy_time))
    asked = [
        min((cost for cost in costs if cost.design.words.words == words), key=lambda cost: cost.energy_time)
        for words in given
        if any(cost.design.words.words == words for cost in costs)
    ]
    first = [*(named := choices(asked)), *(choice for choice in choices(lean) if choice not in named)]
    rest = [choice for choice in choices(front) if choice not in first]
    taken = [*named, *_evenly(first[len(named) :], most - len(named)), *_evenly(rest, most - len(first))]
    return sorted(taken, key=lambda choice: losses[choice].nats)


def _evenly(choices: Sequence[Choice], most: int) -> list[Choice]:
    """Return at most so many of the choices, evenly spaced, with the first and the last."""
    if len(choices) <= most:
        return list(choices)
    return [choices[round(i)] for i in np.linspace(0, len(choices) - 1, max(most, 0)).tolist()]


def _front(costs: Sequence[DesignCost], found: dict[Choice, Evaluated], max_loss: float) -> list[DesignCost]:
    """Return the designs of each phase that no other evaluated one beats, among those with a loss low enough.

    They are compared by divergence, rate per area and energy per token: losses on a short text differ by chance.

    Raises:
        InfeasibleError: No loss is.
    """
    least = min(found, key=lambda choice: found[choice].nats)
    if found[least].nats > max_loss:
        raise InfeasibleError(
            f"the loss must be at least {found[least].nats:.4g} nats, which {least[0].name} at tile {least[1]} reaches "
            f"on this model, not {max_loss:g}; allow more with --max-loss, or evaluate more sets with --evaluate"
        )

    def apart(cost: DesignCost) -> float:
        return found[cost.design.words, cost.design.tile].divergence_nats

    real = [c for c in costs if (c.design.words, c.design.tile) in found]
    low = [c for c in real if found[c.design.words, c.design.tile].nats <= max_loss]
    front: list[DesignCost] = []
    for phase in dict.fromkeys(cost.phase for cost in low):
        there = [cost for cost in low if cost.phase == phase]
        made = not_beaten(there, lambda c: (apart(c), -c.tokens_per_s_mm2, c.token_j))
        front += sorted(made, key=lambda c: (apart(c), -c.tokens_per_s_mm2))
    return front


def _sample(inputs: Inputs) -> WeightSample:
    """Return scale groups of a dozen layers, for which words are chosen."""
    layers = inputs.checkpoint.layers
    every = max(1, len(layers) // 12)
    pairs = (
        (read_weight(inputs.checkpoint, layer), uniform_importance(layer.in_features)) for layer in layers[::every]
    )
    return sample_groups(pairs, make_grid(SAMPLE_TILE, SAMPLE_TILE, SAMPLE_TILE, SAMPLE_TILE), per_layer=24)


def _register_j(elements: Sequence[Element]) -> float:
    """Return the energy of a register bit in a cycle by the first element that says it; 0 if none does."""
    said = (element.profile.provenance.get("activation_register_j") for element in elements)
    return float(next((value for value in said if value), "0"))


def with_passes(recipe: Recipe, prefill_tokens: int, context_tokens: int, batch: int, shape: str) -> Recipe:
    """Return a recipe with other passes: tokens of the prefill, tokens in the cache, sequences, and the shape."""
    change = msgspec.structs.replace
    workload = change(
        recipe.workload, prefill_tokens=prefill_tokens, decode_context=context_tokens, decode_batch=batch, shapes=shape
    )
    return change(recipe, workload=workload)
