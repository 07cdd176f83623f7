"""HALO behind an equivalent transform: each layer's input divided by a scale, its weight multiplied by it.

W diag(s) is what HALO quantizes, with the statistics of x / s. The division is folded into what makes x (`lm.folding`):
a norm's weight, or the rows of the linear layer before. So that this is exact in any floating-point type, scales are
powers of two; the packed model is then an ordinary one, with the logits of the one that was evaluated. Inputs whose
division has no place keep their scale of 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from haloquant.config import Transform
from haloquant.errors import InputError
from haloquant.lm.folding import Fold
from haloquant.quant.baselines import rival
from haloquant.quant.transforms import awq, smoothquant
from haloquant.quant.transforms.scaling import (
    powers_of_two,
    scale_rows,
    scale_statistics,
    scale_weight,
    tie_repeated,
    unscale_weight,
)
from haloquant.types import LayerStatistics

AWQ_ROUNDING = "rtn-w4-g128-sym"  # what AWQ's search rounds by: HALO's codebooks are chosen only after the scaling
NOTE = "{}: inputs of {} of {} layers are divided by powers of two, folded into what makes them"


@dataclass(frozen=True)
class Transformed:
    """Weights and statistics after the transform: the scale of layers' inputs, and what makers' rows are divided by."""

    weights: Mapping[str, np.ndarray]
    statistics: Mapping[str, LayerStatistics]
    scales: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]

    def undo(self, layer: str, weight: np.ndarray) -> np.ndarray:
        """A rounded weight in terms of input and output as they were."""
        whole = weight * self.rows[layer][:, None] if layer in self.rows else weight
        return unscale_weight(whole, self.scales[layer]) if layer in self.scales else whole


def find_scales(
    transform: Transform,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    places: tuple[Fold, ...],
    tell: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """The scale of every layer's input that has a place, one for layers that read one input; none without a transform.

    AWQ's exponent is the one whose rounded weights err least in the layers' own outputs, by the calibrated Hessian.
    """
    if transform == "none":
        return {}
    scales: dict[str, np.ndarray] = {}
    for done, place in enumerate(places):
        together = tuple(weights[layer] for layer in place.layers)
        known = tuple(statistics[layer] for layer in place.layers)
        name = ", ".join(place.layers)
        shape = partial(_shape, place)
        if all(part.input_absmax is not None for part in known):
            if transform == "smoothquant":
                found = smoothquant.scaling(together, known[0], smoothquant.SmoothQuantConfig(), layer=name)
                scale = shape(found.scale)
            else:
                config = awq.AwqConfig(points=10)
                scale = awq.scaling(together, known, _rounded(name), config, layer=name, shape=shape).scale
            scales |= dict.fromkeys(place.layers, scale)
        tell(done + 1, len(places))
    return scales


def apply(
    scales: Mapping[str, np.ndarray],
    places: tuple[Fold, ...],
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
) -> Transformed:
    """Scale the layers that have a scale, and divide the rows of those that make their inputs."""
    rows = {p.maker: p.rows(scales[p.layers[0]]) for p in places if p.maker is not None and p.layers[0] in scales}
    made, known = dict(weights), dict(statistics)
    for layer in weights:
        if layer in scales:
            made[layer] = scale_weight(made[layer], scales[layer])
            known[layer] = scale_statistics(known[layer], scales[layer])
        if layer in rows:
            made[layer] = made[layer] / rows[layer][:, None]
            known[layer] = scale_rows(known[layer], rows[layer])
    return Transformed(made, known, scales, rows)


def refuse(transform: Transform) -> None:
    """Refuse a transform where layers come one by one.

    Raises:
        InputError: there is one.
    """
    if transform != "none":
        raise InputError(
            f'a checkpoint quantized layer by layer must have quantize.transform = "none", not "{transform}": a scale '
            "is folded into layers that are written before it is known; `haloquant run` with the same recipe holds the "
            "model whole, folds the scales and packs the result"
        )


def _shape(place: Fold, scale: np.ndarray) -> np.ndarray:
    """A scale that can be folded exactly: powers of two, and one for the query heads that share a value head."""
    queries, values = place.heads
    return powers_of_two(scale if queries == values else tie_repeated(scale, queries, values))


def _rounded(layer: str) -> awq.Rounding:
    method = rival(AWQ_ROUNDING)
    return lambda weight, known: method.quantize(weight, known, layer=layer).weight
