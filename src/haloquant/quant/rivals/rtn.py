"""RTN: round every weight to nearest. It is the baseline of all other methods and needs no data."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.rivals.parts.bit_counts import grid_bits
from haloquant.quant.rounding import uniform_grid
from haloquant.records import LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class RtnConfig:
    """Settings of the grid: bits of a code, input features per scale (None: the whole row), and scheme."""

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: RtnConfig, *, layer: str
) -> LayerResult:
    """Round every weight to the nearest value of its group's grid.

    Args:
        weight: [out, in], finite.
        statistics: not used.
        config: settings.
        layer: name of the layer in the result and in error messages.

    Returns:
        The result; `mac_values` are the signed levels.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: The grid is not possible.
    """
    del statistics
    spec = uniform_grid.checked_spec(weight, config.bits, config.group, config.scheme, layer)
    value, level = uniform_grid.round_to_grid(weight, spec)
    return LayerResult(
        layer=layer, weight=value, bits=grid_bits(weight.shape[0], weight.shape[1], spec), mac_values=level
    )
