"""Quantize a layer whose input is scaled, and return the result as a weight for the unscaled input."""

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
    """Quantize W diag(s) with the statistics of x / s, and return the result as a weight for x.

    This measures the effect of a scaling on the weights only. If activations are rounded too, fold the scale into
    the layer that makes the input and quantize `scale_weight(weight, s)`, so that x / s is rounded.

    Args:
        scaling: scaling of the layer's input.
        weight: weight of the layer before rounding.
        statistics: statistics of the layer before scaling.
        method: any quantization method, HALO or a rival.

    Returns:
        The weight in terms of the unscaled input; bits and `mac_values` as the method returned them. `quantized` is
        None, because the packed form belongs to the folded model.
    """
    scaled = method(scale_weight(weight, scaling.scale), scale_statistics(statistics, scaling.scale))
    notes = (
        *scaled.notes,
        f"{scaling.method}: the inputs are divided by a scale, folded into the layer that makes them",
    )
    return replace(scaled, weight=unscale_weight(scaled.weight, scaling.scale), quantized=None, notes=notes)
