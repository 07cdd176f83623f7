"""AWQ (arXiv 2306.00978) on a single layer: scale, clip, round to nearest; the scale is stored with the layer.

If the layers that share an input are known, `transforms.awq.scaling` finds one scale for all of them, which is folded
into the layer that makes the input. Here each layer has its own scale; 16 bits per input feature are counted for it.
Query and key projections are not clipped, as in the authors' code: their outputs are multiplied with each other.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.rivals.parts.bit_counts import grid_bits
from haloquant.quant.rounding import uniform_grid
from haloquant.quant.transforms import awq as transform
from haloquant.quant.transforms.input_scaling import scale_statistics
from haloquant.records import BitCount, LayerResult, LayerStatistics
from haloquant.records.layer_names import QUERY_OR_KEY

# Names of query and key projections, also fused with others.


@dataclass(frozen=True, slots=True)
class AwqLayerConfig:
    """Settings.

    Attributes:
        bits: bits of a code.
        group: input features per scale; None means the whole row.
        scale_points: number of exponents that are tried for the scale; 1 means no scaling.
        clip_points: number of ranges that are tried for clipping; 1 means no clipping.
    """

    bits: int = 4
    group: int | None = 128
    scale_points: int = 20
    clip_points: int = 10


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: AwqLayerConfig, *, layer: str
) -> LayerResult:
    """Quantize one layer by AWQ, with a scale of its own.

    Args:
        weight: [out, in], finite.
        statistics: with the Hessian and `input_absmean`.
        config: settings.
        layer: name of the layer in the result and in error messages.

    Returns:
        The result. `mac_values` are the signed levels; they multiply the inputs divided by the scale.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: Statistics are missing or belong to another layer, or the grid is not possible.
    """
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, "asymmetric", layer)

    def nearest(scaled: Float32[np.ndarray, "out in"], _: LayerStatistics) -> Float32[np.ndarray, "out in"]:
        return uniform_grid.round_to_grid(scaled, spec)[0]

    search = transform.AwqConfig(config.scale_points)
    found = transform.scaling((weight,), (statistics,), nearest, search, layer=layer)
    scale = found.scale.astype(np.float16).astype(np.float32)
    scaled, clip = weight * scale, transform.ClipConfig(config.clip_points)
    if not is_query_or_key(layer):
        scaled = transform.clip(scaled, scale_statistics(statistics, scale), spec, clip, layer=layer)
    value, level = uniform_grid.round_to_grid(scaled, spec)
    return LayerResult(
        layer=layer,
        weight=value / scale,
        bits=grid_bits(weight.shape[0], weight.shape[1], spec) + BitCount(scales=16 * weight.shape[1]),
        mac_values=level,
        notes=(*found.notes, "the inputs are divided by a float16 scale before the MAC"),
    )


def is_query_or_key(layer: str) -> bool:
    """Return whether a layer's name is that of a query or key projection, alone or fused with others."""
    return QUERY_OR_KEY.search(layer.rpartition(".")[2]) is not None
