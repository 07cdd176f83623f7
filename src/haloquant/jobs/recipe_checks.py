"""Checks of a recipe before any work: all that could stop a job later is found here, and nothing is computed."""

from collections.abc import Callable, Collection
from importlib.util import find_spec
from operator import attrgetter
from typing import TypeVar, get_args

import numpy as np

from haloquant.accel.workload.model_shapes import named_shape
from haloquant.dvfs.classes import check_clocks, check_words
from haloquant.errors import InputError, MissingExtraError, ProfileError, RecipeError
from haloquant.jobs.compare.rivals import norm_places
from haloquant.jobs.inputs import Inputs
from haloquant.jobs.machines.method_cost import recipe_shape, recipe_workloads
from haloquant.jobs.quantize.budgets import check_budgets
from haloquant.jobs.quantize.layer_costs import MEASURED, check_layer_costs, cost_source
from haloquant.lm.checkpoint.linear_layers import expert_family
from haloquant.lm.export.folding import folds
from haloquant.quant.rivals.registry import rival
from haloquant.recipe import CostOf, Hardware, Quantize, Recipe
from haloquant.records import MacProfile
from haloquant.store.targets import read_gpu, read_systolic

T = TypeVar("T")

MODEL_PACKAGES = ("torch", "transformers", "tokenizers", "accelerate")
DRAWING_PACKAGES = ("altair", "vl_convert", "jinja2")


def require_packages(names: Collection[str], purpose: str, extra: str) -> None:
    """Check that optional packages are installed, without importing them.

    Args:
        names: The packages, as they are imported.
        purpose: The beginning of the error sentence, such as "a report".
        extra: The extra of this package that installs them.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{purpose} needs {', '.join(missing)}: pip install 'haloquant[{extra}]'")


def check_names(recipe: Recipe) -> None:
    """Check all that a recipe names besides files of the model, its texts and the MAC.

    Raises:
        RecipeError: A rival or a shape is unknown; two machines have one name, or a rival or a goal is named twice; a
            setting would change nothing (`check_used`); or mixed activations do not fit the rest.
        TargetError: The description of a machine is malformed.
    """
    for key, names, read in (
        ("hardware.targets", recipe.hardware.targets, read_systolic),
        ("hardware.gpus", recipe.hardware.gpus, read_gpu),
    ):
        found = [_at(key, read, name).name for name in names]
        if len(set(found)) < len(found):
            raise RecipeError(f"{key} must name each machine once, not {', '.join(found)}")
    for key, listed in (("rivals", recipe.quantize.rivals), ("goals", recipe.quantize.goals)):
        if len(set(listed)) < len(listed):
            raise RecipeError(f"quantize.{key} must name each once, not {', '.join(listed)}")
    check_used(recipe)
    check_mixed(recipe.quantize)
    _at("quantize.cost", lambda _: cost_source(recipe), "")
    for name in recipe.quantize.rivals:
        _at("quantize.rivals", rival, name)
    if recipe.workload.shapes != "model":
        _at("workload.shapes", named_shape, recipe.workload.shapes)


def check_used(recipe: Recipe, section: str = "quantize.") -> None:
    """Check that no setting of the quantization is given that another setting keeps from changing anything.

    Args:
        recipe: The recipe.
        section: What the sentence puts before the name of a setting; empty for one that is an argument.

    Raises:
        RecipeError: One is.
    """
    quantize, standard = recipe.quantize, Quantize()
    unused: list[tuple[str, str, str]] = []  # key, where it is not used, why
    if quantize.method == "paper":
        reason = "as the paper rounds to nearest and keeps all outliers"
        unused += [(key, f"{section}method is paper", reason) for key in ("sparse_budget", "prune_to_zero", "refine")]
    else:
        reason = "as only the paper's method keeps a share of each layer's sensitivity"
        unused.append(("kept_share", f"{section}method is {quantize.method}", reason))
    if quantize.activations == "none":
        unused.append(("activation_bits", f"{section}activations is none", "as no activation is rounded"))
    if quantize.activations != "mixed":
        reason = "as all tokens have the same bits"
        unused += [
            (key, f"{section}activations is {quantize.activations}", reason) for key in ("low_share", "low_bits")
        ]
    if not quantize.input_sparsity:
        unused.append(("input_allocation", f"{section}input_sparsity is 0", "as no input is left out"))
    if not quantize.compensate:
        reason = "as only tiles whose errors were compensated are refined"
        unused.append(("refine", f"{section}compensate is false", reason))
    unused += _unused_budgets(quantize, section)
    if recipe.hardware.clocks_ghz:
        unused += [
            (key, "hardware.clocks_ghz is given", "as the clocks choose the words")
            for key in ("fast_loss_db", "slow_loss_db")
        ]
    for key, where, why in unused:
        read = attrgetter(key)
        given = read(quantize)
        if given == read(standard) or (key, given) == ("refine", 0.0):
            continue
        zero = "0 or left out" if key == "refine" else "left out"
        shown = given if isinstance(given, str) else f"{given:g}"
        raise RecipeError(f"{section}{key} must be {zero} where {where}, {why}, not {shown}")


def check_mixed(quantize: Quantize) -> None:
    """Check that mixed activations fit the rest of a recipe.

    Raises:
        RecipeError: Low bits are not below the others, or inputs are left out too.
    """
    if quantize.activations != "mixed":
        return
    if quantize.low_bits >= quantize.activation_bits:
        raise RecipeError(
            f"quantize.low_bits must be below quantize.activation_bits, {quantize.activation_bits}, not "
            f"{quantize.low_bits}"
        )
    if quantize.input_sparsity:
        raise RecipeError(
            f"quantize.input_sparsity must be 0 where quantize.activations is mixed, not {quantize.input_sparsity:g}: "
            "the thresholds of both are found with the other left alone"
        )


def _unused_budgets(quantize: Quantize, section: str) -> list[tuple[str, str, str]]:
    """Return the keys of the budget that nothing would use: key, where it is not used, why."""
    limits = [f"budget.{name}" for name in ("bits_per_weight", "time_s", "energy_j")]
    if not quantize.budget.limited:
        return [("budget.level", "no budget is given", "as it says whose classes the budget chooses")]
    if "bal" not in quantize.goals:
        where = f"{section}goals has no bal" if section else "the goal is not bal"
        return [(key, where, "as only bal is chosen within budgets") for key in limits]
    if quantize.method == "paper":
        return [(key, f"{section}method is paper", "as the paper's bal is a knee") for key in limits]
    if quantize.cost in get_args(CostOf):
        reason = "as only a cost of simulated:TARGET or measured:FILE gives seconds and joules of the layers"
        return [(key, f"{section}cost is {quantize.cost}", reason) for key in limits[1:]]
    return []


def check_mac(hardware: Hardware, profile: MacProfile) -> None:
    """Check that a MAC has what a job looks up, and that its values meet the clocks that a recipe gives.

    Raises:
        ProfileError: As for `check_profile`.
        InfeasibleError: It holds no value but 0; or the value 0, or every other value, misses a clock.
        InputError: All values meet a clock.
    """
    check_profile(profile)
    _check_clocks(hardware, profile)


def check_classes(recipe: Recipe, profile: MacProfile) -> None:
    """Check that a MAC has what the words of a model and the choice of its classes look up; less than a job does.

    Raises:
        ProfileError: Its values are floats, it lacks 0, or it lacks an energy that the recipe counts.
        InfeasibleError: It holds no value but 0; or the value 0, or every other value, misses a clock.
        InputError: All values meet a clock.
    """
    check_words(profile)
    cost = recipe.quantize.cost
    if recipe.quantize.energy_weight or not (cost == "time" or cost.startswith(MEASURED)):
        check_profile(profile)
    _check_clocks(recipe.hardware, profile)


def _check_clocks(hardware: Hardware, profile: MacProfile) -> None:
    if hardware.clocks_ghz:
        check_clocks(profile, 0, [ghz * 1e9 for ghz in hardware.clocks_ghz], hardware.margin)


def check_profile(profile: MacProfile) -> None:
    """Check that a MAC has what the choice of words and the simulation look up.

    Raises:
        ProfileError: The profile lacks the weight value 0 or an energy, or holds floats.
        InfeasibleError: It holds no value but 0.
    """
    check_words(profile)
    unknown = profile.weights[~np.isfinite(profile.energy_j[0])]
    if unknown.size:
        raise ProfileError(
            f"profile {profile.name} must hold the energy of every weight value, and lacks that of {unknown.size}, "
            f"first {unknown[0]}; characterize it without --static-only"
        )


def check_job(recipe: Recipe, inputs: Inputs, profile: MacProfile) -> None:
    """Check that the model, the texts, the MAC and the machines of a job fit together.

    Raises:
        RecipeError: A text has too few tokens, the transform finds no place, or the machine model lacks a layer.
        ProfileError: The MAC lacks a value.
        InfeasibleError: No words of the MAC meet a budget.
        CheckpointError: Transformers cannot load the model, or a chosen layer is no linear layer of it.
    """
    from haloquant.lm.model_check import check_model, check_scored  # needs torch

    check_mac(recipe.hardware, profile)
    check_model(inputs.checkpoint)
    if recipe.quantize.activations == "mixed":
        _at("quantize.activations", lambda _: check_scored(inputs.checkpoint), "")
    for use, least, what in (("calibration", inputs.window, "one window"), ("evaluation", 2, "to predict")):
        tokens = getattr(inputs, use).tokens
        if len(tokens) < least:
            raise RecipeError(
                f"text.{use} must have at least {least} tokens, {what}, but has {len(tokens)}; give a longer text"
            )
    if recipe.quantize.transform != "none" and not folds(inputs.checkpoint):
        raise RecipeError(
            f"quantize.transform must be none for {inputs.name}: no input of its layers has a scale that can be folded "
            f"into the layer before, so {recipe.quantize.transform} would change nothing"
        )
    check_rivals(recipe, inputs)
    _at("quantize.cost", lambda _: check_layer_costs(recipe, inputs.checkpoint), "")
    check_budgets(recipe, inputs.checkpoint, profile)
    shape = _at("the machine model", lambda _: recipe_shape(recipe, inputs.checkpoint, inputs.name), "")
    passes = recipe_workloads(shape, recipe)
    if recipe.workload.shapes == "model":
        sizes = {gemm.layer: (gemm.n, gemm.k) for gemm in passes[0].gemms}
        for layer in inputs.checkpoint.layers:
            if sizes.get(layer.name) != (layer.out_features, layer.in_features):
                raise RecipeError(
                    f"the machine model must hold the layer {layer.name} of {layer.out_features} x {layer.in_features} "
                    f'weights, and has none of that name and size; name a shape instead (workload.shapes = "llama2-7b")'
                )


def check_rivals(recipe: Recipe, inputs: Inputs) -> None:
    """Check that the rivals of a recipe can quantize its model.

    Raises:
        RecipeError: One of them cannot (`rivals_obstacle`).
    """
    if said := rivals_obstacle(recipe, inputs):
        raise RecipeError(f"quantize.rivals: {said}")


def rivals_obstacle(recipe: Recipe, inputs: Inputs) -> str:
    """Return why one of the rivals of a recipe cannot quantize its model; empty if all can.

    A branch has a higher rank than a layer; no norm can take SmoothQuant's scales; or layers cannot be rounded in
    order, because there are experts or fewer than two calibration windows.
    """
    checkpoint = inputs.checkpoint
    smallest = min((min(layer.out_features, layer.in_features) for layer in checkpoint.layers), default=0)
    experts = any(expert_family(layer.name) is not None for layer in checkpoint.layers)
    tokens = recipe.text.calibration_tokens or len(inputs.calibration.tokens)
    windows = min(len(inputs.calibration.tokens), tokens) // inputs.window
    for name in recipe.quantize.rivals:
        chosen, why = rival(name), ""
        if chosen.rank > smallest:
            why = f"a rank of at most {smallest}, the size of the model's smallest layer, not {chosen.rank}"
        elif chosen.smoothing is not None and not norm_places(checkpoint):
            why = f"a model whose norms can take its scales, which {inputs.name} is not; leave the rival out"
        elif chosen.in_order and experts:
            why = f"a model without experts, because it rounds layers in order, and {inputs.name} has experts"
        elif chosen.in_order and windows < 2:
            why = f"two windows of calibration text at least, 2 x {inputs.window} tokens, not {windows}"
        if why:
            return f"{name} must have {why}"
    return ""


def _at(key: str, read: Callable[[str], T], name: str) -> T:
    """Return `read(name)`; an error begins with the key of the recipe that holds the name."""
    try:
        return read(name)
    except InputError as error:
        raise type(error)(f"{key}: {error}") from error
