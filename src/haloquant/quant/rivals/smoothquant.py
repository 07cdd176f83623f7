"""SmoothQuant (arXiv 2211.10438) as a method: scale the inputs, then round every weight to nearest.

The authors smooth the inputs that a norm makes, so that the norm takes the division, and round weights and activations
to 8 bits. The HALO paper compares with 8, 4 and 3 bits.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.rivals import rtn
from haloquant.quant.rivals.rtn import RtnConfig
from haloquant.quant.transforms import smoothquant
from haloquant.quant.transforms.composition import through
from haloquant.quant.transforms.input_scaling import InputScaling
from haloquant.records import LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SmoothQuantLayerConfig:
    """Settings of the symmetric grid, and of the scale.

    Attributes:
        bits: bits of a code.
        group: input features per scale of the grid; None means the whole row.
        alpha: migration strength, 0 to 1. The authors take 0.5, and 0.85 for Llama 2.
    """

    bits: int = 8
    group: int | None = None
    alpha: float = 0.5


def quantize(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    config: SmoothQuantLayerConfig,
    *,
    layer: str,
    input_scale: Float32[np.ndarray, " in"] | None = None,
) -> LayerResult:
    """Round W diag(s) to nearest, and return the result as a weight for the unscaled input.

    Args:
        weight: [out, in], finite.
        statistics: with the largest inputs, if `input_scale` is None.
        config: settings.
        layer: name of the layer in the result and in error messages.
        input_scale: s, shared by all layers that read the input; ones leave it unscaled. None takes the scale that
            this layer alone would have.

    Returns:
        The result; `mac_values` are the signed levels of W diag(s).

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: The grid is not possible, or the statistics hold no largest inputs.
    """
    if input_scale is None:
        settings = smoothquant.SmoothQuantConfig(config.alpha)
        scaling = smoothquant.scaling((weight,), statistics, settings, layer=layer)
    else:
        scaling = InputScaling("smoothquant", input_scale)
    grid = RtnConfig(config.bits, config.group, "symmetric")
    result = through(scaling, weight, statistics, lambda w, known: rtn.quantize(w, known, grid, layer=layer))
    return LayerResult(layer, result.weight, result.bits, result.mac_values)
