"""Round to nearest: the floor every other method has to beat."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts import uniform_grid
from haloquant.quant.rivals.parts.stored_bits import grid_bits
from haloquant.records import LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class RtnConfig:
    """Bits, input features a scale (None: one scale a row), symmetric or asymmetric."""

    bits: int = 4
    group: int | None = 128
    scheme: uniform_grid.Scheme = "asymmetric"


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: RtnConfig, *, layer: str
) -> LayerResult:
    """Round every weight to the nearest level of its group's grid.

    Args:
        weight: [out, in], finite.
        statistics: not used; RTN is data-free.
        config: the grid.
        layer: name for the result and for errors.

    Returns:
        LayerResult: with `mac_values` the signed levels.

    Raises:
        InputError: weights that are not finite, or a grid that cannot exist.
    """
    del statistics
    spec = uniform_grid.GridSpec(config.bits, config.group, config.scheme)
    uniform_grid.check_spec(spec, layer)
    check_weight(weight, layer)
    fitted = uniform_grid.fit(weight, spec)
    level = uniform_grid.levels(weight, fitted)
    return LayerResult(
        layer=layer,
        weight=uniform_grid.values(level, fitted),
        bits=grid_bits(weight.shape[0], weight.shape[1], spec),
        mac_values=level,
    )
