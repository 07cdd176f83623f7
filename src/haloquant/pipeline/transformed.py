"""HALO behind an equivalent transform: each layer's input divided by a scale, its weight multiplied by it.

W diag(s) is what HALO quantizes, with the statistics of x / s; diag(1/s) behind it gives the weight for x, so that the
model's forward stays what it was but for rounding. The array sees x / s, which is what its 8 bits then round.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from haloquant.config import Transform
from haloquant.errors import InputError
from haloquant.quant.baselines import rival
from haloquant.quant.transforms import awq, smoothquant
from haloquant.quant.transforms.scaling import scale_statistics, scale_weight, unscale_weight
from haloquant.types import LayerStatistics

AWQ_ROUNDING = "rtn-w4-g128-sym"  # what AWQ's search rounds by: HALO's codebooks are chosen only after the scaling
NOTE = "{}: the inputs are divided by a scale as the model runs; not folded into the layers before, so not packed"


@dataclass(frozen=True)
class Transformed:
    """Weights and statistics after the transform, and the scale of every layer's input; none without a transform."""

    weights: Mapping[str, np.ndarray]
    statistics: Mapping[str, LayerStatistics]
    scales: Mapping[str, np.ndarray]

    def undo(self, layer: str, weight: np.ndarray) -> np.ndarray:
        """A rounded weight in terms of the input as it was."""
        return unscale_weight(weight, self.scales[layer]) if layer in self.scales else weight


def find_scales(
    transform: Transform,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    tell: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """The scale of every layer's input; layers that read the same input share it. Without a transform, none."""
    if transform == "none":
        return {}
    scales: dict[str, np.ndarray] = {}
    groups = sharing(statistics)
    for done, group in enumerate(groups):
        together = tuple(weights[layer] for layer in group)
        known = tuple(statistics[layer] for layer in group)
        name = ", ".join(group)
        if transform == "smoothquant":
            found = smoothquant.scaling(together, known[0], smoothquant.SmoothQuantConfig(), layer=name)
        else:
            found = awq.scaling(together, known, _rounded(name), awq.AwqConfig(), layer=name)
        scales |= dict.fromkeys(group, found.scale)
        tell(done + 1, len(groups))
    return scales


def apply(
    scales: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], statistics: Mapping[str, LayerStatistics]
) -> Transformed:
    """Scale the layers that have a scale."""
    if not scales:
        return Transformed(weights, statistics, {})
    return Transformed(
        {layer: scale_weight(weight, scales[layer]) for layer, weight in weights.items()},
        {layer: scale_statistics(statistics[layer], scales[layer]) for layer in weights},
        scales,
    )


def sharing(statistics: Mapping[str, LayerStatistics]) -> list[tuple[str, ...]]:
    """Layers by the input they read: those whose recorded maxima are one and the same array."""
    groups: dict[int, list[str]] = {}
    for layer, known in statistics.items():
        groups.setdefault(id(known if known.input_absmax is None else known.input_absmax), []).append(layer)
    return [tuple(group) for group in groups.values()]


def refuse(transform: Transform) -> None:
    """Refuse to pack behind a transform.

    Raises:
        InputError: there is one.
    """
    if transform != "none":
        raise InputError(
            f'a packed model must have quantize.transform = "none", not "{transform}": the packed form has no '
            "place for the scales of the inputs; `haloquant run` evaluates and simulates it without packing"
        )


def _rounded(layer: str) -> awq.Rounding:
    method = rival(AWQ_ROUNDING)
    return lambda weight, known: method.quantize(weight, known, layer=layer).weight
