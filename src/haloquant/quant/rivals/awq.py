"""AWQ (arXiv 2306.00978) on one layer by itself: scale, clip, round to nearest, the scale kept beside the layer.

Where the layers that share an input are at hand, `transforms.awq.scaling` searches one scale for all of them, to be
folded into what makes the input; here each layer has its own, and pays 16 bits an input feature for it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.stored_bits import grid_bits
from haloquant.quant.transforms import awq as transform
from haloquant.quant.transforms.input_scaling import scale_statistics
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class AwqLayerConfig:
    """The grid; points of the search for the exponent of the scale (1: no scaling) and for the clipping (1: none)."""

    bits: int = 4
    group: int | None = 128
    scale_points: int = 20
    clip_points: int = 10


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: AwqLayerConfig, *, layer: str
) -> LayerResult:
    """AWQ with a scale of the layer's own.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian and `input_absmean`.
        config: grid and searches.
        layer: name for the result and for errors.

    Returns:
        LayerResult: with `mac_values` the signed levels, which meet the inputs divided by the scale.

    Raises:
        InputError: weights that are not finite, statistics absent or of another layer, a grid that cannot exist.
    """
    spec = uniform_grid.GridSpec(config.bits, config.group)
    uniform_grid.check_spec(spec, layer)
    check_weight(weight, layer)

    def nearest(scaled: Float32[np.ndarray, "out in"], known: LayerStatistics) -> Float32[np.ndarray, "out in"]:
        fitted = uniform_grid.fit(scaled, spec)
        return uniform_grid.values(uniform_grid.levels(scaled, fitted), fitted)

    search = transform.AwqConfig(config.scale_points)
    found = transform.scaling((weight,), (statistics,), nearest, search, layer=layer)
    scale = found.scale.astype(np.float16).astype(np.float32)
    clip = transform.ClipConfig(config.clip_points)
    scaled = transform.clip(weight * scale, scale_statistics(statistics, scale), spec, clip, layer=layer)
    fitted = uniform_grid.fit(scaled, spec)
    level = uniform_grid.levels(scaled, fitted)
    return LayerResult(
        layer=layer,
        weight=uniform_grid.values(level, fitted) / scale,
        bits=grid_bits(weight.shape[0], weight.shape[1], spec) + BitCount(scales=16 * weight.shape[1]),
        mac_values=level,
        notes=(*found.notes, "the inputs are divided by a float16 scale before the MAC"),
    )
