"""The transform of a model that is in memory as a whole: the judge of the transform that is found layer by layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from haloquant.jobs.quantize.transform import (
    divided_rows,
    input_scale,
    restore_layer,
    scale_layer,
    scale_layer_statistics,
)
from haloquant.lm.export.folding import Fold
from haloquant.recipe import Transform
from haloquant.records import LayerStatistics


@dataclass(frozen=True)
class Transformed:
    """Weights and statistics after the transform.

    `scales` holds the scale of each layer's input. `rows` holds the divisors of the rows of the layers that make such
    an input.
    """

    weights: Mapping[str, np.ndarray]
    statistics: Mapping[str, LayerStatistics]
    scales: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]

    def undo(self, layer: str, weight: np.ndarray) -> np.ndarray:
        """Return a rounded weight for the layer's original input and output."""
        return restore_layer(weight, self.scales.get(layer), self.rows.get(layer))


def find_scales(
    transform: Transform,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    places: tuple[Fold, ...],
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Return the scale [in] of every input that can be folded, by the name of each layer that reads it.

    Without a transform the result is empty. `progress` is called with inputs done and inputs in all.
    """
    scales: dict[str, np.ndarray] = {}
    for done, place in enumerate(places):
        scale = input_scale(
            transform,
            place,
            tuple(weights[layer] for layer in place.layers),
            tuple(statistics[layer] for layer in place.layers),
        )
        if scale is not None:
            scales |= dict.fromkeys(place.layers, scale)
        progress(done + 1, len(places))
    return scales


def apply_scales(
    scales: Mapping[str, np.ndarray],
    places: tuple[Fold, ...],
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
) -> Transformed:
    """Multiply the weights of layers whose input has a scale, and divide the rows of layers that make such an input."""
    rows = divided_rows(scales, places)
    scaled: dict[str, np.ndarray] = {}
    known: dict[str, LayerStatistics] = {}
    for layer, weight in weights.items():
        scaled[layer] = scale_layer(weight, scales.get(layer), rows.get(layer))
        known[layer] = scale_layer_statistics(statistics[layer], scales.get(layer), rows.get(layer))
    return Transformed(scaled, known, scales, rows)
