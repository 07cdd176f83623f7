"""HALO with an equivalent transform: each layer's input is divided by a scale, and its weight multiplied by it.

HALO quantizes W diag(s), with the statistics of x / s. The division of x is folded into the layer that makes x: the
weight of a norm, or the rows of the linear layer before (`lm.export.folding`). To make this exact in every
floating-point type, the scales are powers of two. The packed model then needs no extra operation, and its logits are
those that were evaluated. An input whose division cannot be folded keeps a scale of 1.

Sources of the scales: SmoothQuant (arXiv 2211.10438) and AWQ (arXiv 2306.00978), in `quant.transforms`.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from haloquant.errors import InputError
from haloquant.lm.export.folding import Fold
from haloquant.quant.rivals.registry import rival
from haloquant.quant.transforms import awq, smoothquant
from haloquant.quant.transforms.input_scaling import (
    powers_of_two,
    scale_rows,
    scale_statistics,
    scale_weight,
    tie_repeated,
    unscale_weight,
)
from haloquant.recipe import Transform
from haloquant.records import LayerStatistics

AWQ_POINTS = 10  # number of exponents that AWQ's search tries
AWQ_ROUNDING = "rtn-w4-g128-sym"  # how AWQ's search rounds; HALO's codebooks are chosen only after the scaling
NOTE = "{}: inputs of {} of {} layers are divided by powers of two, folded into what makes them"


def require_calibration(transform: Transform, calibrated: bool) -> None:
    """Check that a transform has the calibration text that it needs.

    Raises:
        InputError: There is a transform and no calibration text.
    """
    if transform != "none" and not calibrated:
        raise InputError(
            f"the transform {transform} must have a calibration text, as its scales come from the layers' inputs; name "
            "one, or leave the transform out"
        )


def input_scale(
    transform: Transform, place: Fold, weights: tuple[np.ndarray, ...], known: tuple[LayerStatistics, ...]
) -> np.ndarray | None:
    """Return the scale [in] of one input; None without a transform, or if no token reached the layers.

    AWQ takes the exponent whose rounded weights have the least error in the layers' outputs, by the calibrated Hessian.

    Args:
        transform: How the scale is found.
        place: The input, and the tensors into which its division is folded.
        weights: Weights of the layers that read the input.
        known: Statistics of these layers.
    """
    if transform == "none" or any(part.input_absmax is None for part in known):
        return None
    name, shape = ", ".join(place.layers), partial(_shape, place)
    if transform == "smoothquant":
        return shape(smoothquant.scaling(weights, known[0], smoothquant.SmoothQuantConfig(), layer=name).scale)
    return awq.scaling(weights, known, _rounded(name), awq.AwqConfig(AWQ_POINTS), layer=name, shape=shape).scale


def divided_rows(scales: Mapping[str, np.ndarray], places: tuple[Fold, ...]) -> dict[str, np.ndarray]:
    """Return the divisors of the output rows [out] of every linear layer that makes an input with a scale."""
    return {
        place.producer: place.row_divisors(scales[place.layers[0]])
        for place in places
        if place.producer is not None and place.layers[0] in scales
    }


def scale_layer(weight: np.ndarray, scale: np.ndarray | None, rows: np.ndarray | None) -> np.ndarray:
    """Return the weight that HALO quantizes: columns times the scale of the input, rows divided by their divisors.

    None for `scale` or `rows` leaves the columns or the rows as they are.
    """
    wide = weight if scale is None else scale_weight(weight, scale)
    return wide if rows is None else wide / rows[:, None]


def restore_layer(weight: np.ndarray, scale: np.ndarray | None, rows: np.ndarray | None) -> np.ndarray:
    """Return a rounded weight for the layer's original input and output: the inverse of `scale_layer`."""
    whole = weight if rows is None else weight * rows[:, None]
    return whole if scale is None else unscale_weight(whole, scale)


def scale_layer_statistics(
    known: LayerStatistics, scale: np.ndarray | None, rows: np.ndarray | None
) -> LayerStatistics:
    """Return the statistics that calibration would have measured for the weight of `scale_layer`."""
    wide = known if scale is None else scale_statistics(known, scale)
    return wide if rows is None else scale_rows(wide, rows)


def _shape(place: Fold, scale: np.ndarray) -> np.ndarray:
    """Return a scale that folds exactly: powers of two, and the same for query heads that share a value head."""
    queries, values = place.heads
    return powers_of_two(scale if queries == values else tie_repeated(scale, queries, values))


def _rounded(layer: str) -> awq.Rounding:
    method = rival(AWQ_ROUNDING)
    return lambda weight, known: method.quantize(weight, known, layer=layer).weight
