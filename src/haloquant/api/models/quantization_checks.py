"""Checks of the arguments of `quantize` and `forecast`, before any work."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import msgspec

from haloquant.api.arguments import check_choice, check_count, check_range, texts
from haloquant.errors import MALFORMED, InputError
from haloquant.jobs.inputs import model_folder
from haloquant.jobs.quantize.transform import require_calibration
from haloquant.jobs.recipe_checks import require_packages
from haloquant.lm.checkpoint.reader import Checkpoint, open_checkpoint
from haloquant.lm.checkpoint.remote import is_url
from haloquant.quant.input_sparsity.levels import InputAllocation
from haloquant.quant.input_sparsity.scores import MOST_SPARSITY
from haloquant.recipe import COST_WORDS, Budget, CostOf, Goal, Quantize, Transform
from haloquant.records import CalibrationDtype


def check_common(goal: object, transform: Transform, calibration: str, samples: object) -> None:
    """Check what `quantize` and `forecast` have in common.

    Raises:
        InputError: A value is not allowed, or a transform has no calibration.
    """
    check_choice("goal", goal, get_args(Goal))
    check_choice("transform", transform, get_args(Transform))
    check_count("samples", samples, 1)
    require_calibration(transform, calibration != "none")


def check_calibration_dtype(dtype: CalibrationDtype, calibration: str) -> None:
    """Check the type of the matrix products of calibration.

    Raises:
        InputError: There is no such type, or there is no calibration.
        MissingExtraError: bfloat16 needs torch, and torch is not installed.
    """
    check_choice("calibration_dtype", dtype, get_args(CalibrationDtype))
    if calibration == "none" and dtype != "float32":
        raise InputError("calibration_dtype must be left out where calibration is none, as nothing is calibrated then")
    if dtype != "float32":
        require_packages(("torch",), f"calibration with {dtype}", "lm")


def check_sparsity(sparsity: float, allocation: InputAllocation, calibration: str) -> None:
    """Check how many inputs are left out.

    Raises:
        InputError: A value is not allowed or would change nothing, or there is no calibration text.
    """
    check_range("input_sparsity", sparsity, 0.0, MOST_SPARSITY)
    check_choice("input_allocation", allocation, get_args(InputAllocation))
    if not sparsity and allocation != "uniform":
        raise InputError("input_allocation must come with input_sparsity, the share that it divides among the layers")
    if sparsity and calibration == "none":
        raise InputError("input_sparsity must have a calibration text, as it gives the thresholds; name one")


def read_rounding(low_share: float, low_bits: int, sparsity: float, calibration: str) -> dict[str, Any]:
    """Return the keys of a recipe that say how inputs are rounded by token; none without a share of tokens in low bits.

    Raises:
        InputError: A value is not allowed or would change nothing, inputs are left out too, or there is no calibration
            text.
    """
    check_range("low_share", low_share, 0.0, 1.0)
    check_count("low_bits", low_bits, 2)
    check_range("low_bits", low_bits, 2.0, 7.0)
    if not low_share:
        if low_bits != Quantize().low_bits:
            raise InputError("low_bits must come with low_share, the share of the tokens that have them")
        return {}
    if sparsity:
        raise InputError(f"input_sparsity must be 0 with low_share, not {sparsity:g}: each is found without the other")
    if calibration == "none":
        raise InputError("low_share must have a calibration text, as it gives the thresholds; name one")
    return {"activations": "mixed", "low_share": float(low_share), "low_bits": low_bits}


def read_budget(cost: object, budget: Mapping[str, float | str] | None) -> Budget:
    """Return the budgets of `quantize`, after a check of them and of the cost.

    Raises:
        InputError: A key or a value is not allowed.
    """
    if not isinstance(cost, str) or (cost not in get_args(CostOf) and not re.match("(simulated|measured):.", cost)):
        raise InputError(f"cost must be {COST_WORDS}, not {cost!r:.80}")
    try:
        return msgspec.convert(dict(budget or {}), Budget)
    except (*MALFORMED, TypeError) as error:
        raise InputError(
            f"budget must hold any of bits_per_weight, time_s, energy_j (numbers) and level (tile or layer): {error}"
        ) from error


def read_clocks(clocks_ghz: Sequence[float]) -> tuple[float, ...]:
    """Return the clocks of the classes, none or two, the first above the second.

    Raises:
        InputError: They are others.
    """
    if not isinstance(clocks_ghz, Sequence) or isinstance(clocks_ghz, str):
        raise InputError(f"clocks_ghz must be a sequence of two clocks in GHz, not {clocks_ghz!r:.80}")
    for clock in clocks_ghz:
        check_range("a clock in GHz", clock, 0.001, 1000.0)
    found = tuple(float(clock) for clock in clocks_ghz)
    if found and not (len(found) == 2 and found[0] > found[1]):
        raise InputError(
            "the clocks must be that of the fast class, then a lower one of the slow class, not "
            f"{', '.join(f'{clock:g}' for clock in found)} GHz"
        )
    return found


def open_source(model: str, exclude: str | Sequence[str] | None) -> Checkpoint:
    """Return the checkpoint of a folder, a GGUF file, a name in the hub's cache or a URL.

    Raises:
        InputError: There is no such model, or it is malformed.
    """
    return open_checkpoint(model if is_url(model) else model_folder(model), exclude=texts("exclude", exclude))
