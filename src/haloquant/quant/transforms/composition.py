"""A scaling before any rounding, seen from outside: the layer in terms of the input as it was."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from haloquant.quant.transforms.input_scaling import InputScaling, scale_statistics, scale_weight, unscale_weight
from haloquant.records import LayerResult, LayerStatistics

Method = Callable[[Float32[np.ndarray, "out in"], LayerStatistics], LayerResult]


def through(
    scaling: InputScaling, weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, method: Method
) -> LayerResult:
    """Quantize W diag(s) with statistics of x / s, and give the result as a weight for x.

    Use it to judge a scaling on weights alone. Where activations are rounded too, fold the scale into what makes the
    input (`scaling.fold_into_norm`, `fold_into_linear`) and quantize `scale_weight(weight, s)` itself, so that x / s is
    what is rounded.

    Args:
        scaling: of the layer's input.
        weight: the layer before rounding.
        statistics: of the layer before scaling.
        method: any rounding, HALO's too.

    Returns:
        LayerResult: weight in terms of the unscaled input; bits and `mac_values` as the method gave them; `quantized`
        is None, for the packed form belongs to the folded model.
    """
    made = method(scale_weight(weight, scaling.scale), scale_statistics(statistics, scaling.scale))
    notes = (*made.notes, f"{scaling.method}: the inputs are divided by a scale, folded into what makes them")
    return replace(made, weight=unscale_weight(made.weight, scaling.scale), quantized=None, notes=notes)
