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

AWQ_POINTS = 10  # exponents tried
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


def need_calibration(transform: Transform, calibrated: bool) -> None:
    """Refuse a transform of a model whose layers' inputs nobody has seen.

    Raises:
        InputError: there is no calibration text.
    """
    if transform != "none" and not calibrated:
        raise InputError(
            f"the transform {transform} must have a calibration text, as its scales come from the layers' inputs; name "
            "one, or leave the transform out"
        )


def find_scales(
    transform: Transform,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    places: tuple[Fold, ...],
    tell: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """The scale of every input that has a place, by the layers that read it; none without a transform."""
    scales: dict[str, np.ndarray] = {}
    for done, place in enumerate(places):
        scale = scale_of(
            transform,
            place,
            tuple(weights[layer] for layer in place.layers),
            tuple(statistics[layer] for layer in place.layers),
        )
        if scale is not None:
            scales |= dict.fromkeys(place.layers, scale)
        tell(done + 1, len(places))
    return scales


def scale_of(
    transform: Transform, place: Fold, weights: tuple[np.ndarray, ...], known: tuple[LayerStatistics, ...]
) -> np.ndarray | None:
    """The scale of one input, from the weights of the layers that read it; None without a transform or a token seen.

    AWQ's exponent is the one whose rounded weights err least in the layers' own outputs, by the calibrated Hessian.
    """
    if transform == "none" or any(part.input_absmax is None for part in known):
        return None
    name, shape = ", ".join(place.layers), partial(_shape, place)
    if transform == "smoothquant":
        return shape(smoothquant.scaling(weights, known[0], smoothquant.SmoothQuantConfig(), layer=name).scale)
    return awq.scaling(weights, known, _rounded(name), awq.AwqConfig(AWQ_POINTS), layer=name, shape=shape).scale


def apply(
    scales: Mapping[str, np.ndarray],
    places: tuple[Fold, ...],
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
) -> Transformed:
    """Scale the layers that have a scale, and divide the rows of those that make their inputs."""
    rows = divided_rows(scales, places)
    made: dict[str, np.ndarray] = {}
    known: dict[str, LayerStatistics] = {}
    for layer, weight in weights.items():
        made[layer] = scale_layer(weight, scales.get(layer), rows.get(layer))
        known[layer] = scale_known(statistics[layer], scales.get(layer), rows.get(layer))
    return Transformed(made, known, scales, rows)


def divided_rows(scales: Mapping[str, np.ndarray], places: tuple[Fold, ...]) -> dict[str, np.ndarray]:
    """What the rows of layers are divided by that make the input of another whose scale is among `scales`."""
    return {p.maker: p.rows(scales[p.layers[0]]) for p in places if p.maker is not None and p.layers[0] in scales}


def scale_layer(weight: np.ndarray, scale: np.ndarray | None, rows: np.ndarray | None) -> np.ndarray:
    """A weight as HALO sees it: its columns times the scale of its input, its rows divided; None changes nothing."""
    wide = weight if scale is None else scale_weight(weight, scale)
    return wide if rows is None else wide / rows[:, None]


def scale_known(known: LayerStatistics, scale: np.ndarray | None, rows: np.ndarray | None) -> LayerStatistics:
    """What calibration would have found of that weight."""
    wide = known if scale is None else scale_statistics(known, scale)
    return wide if rows is None else scale_rows(wide, rows)


def _shape(place: Fold, scale: np.ndarray) -> np.ndarray:
    """A scale that can be folded exactly: powers of two, and one for the query heads that share a value head."""
    queries, values = place.heads
    return powers_of_two(scale if queries == values else tie_repeated(scale, queries, values))


def _rounded(layer: str) -> awq.Rounding:
    method = rival(AWQ_ROUNDING)
    return lambda weight, known: method.quantize(weight, known, layer=layer).weight
