"""Rival methods on one model: attention Hessians, SmoothQuant's scales, and the power of two that integers get."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from haloquant.accel.rival_systems import value_tiles
from haloquant.dvfs.classes import Classes
from haloquant.dvfs.operating_points import best_shift, slowest_delay_s
from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import Checkpoint, read_weight
from haloquant.lm.export.folding import Fold, folds
from haloquant.quant.transforms import smoothquant
from haloquant.quant.transforms.smoothquant import SmoothQuantConfig
from haloquant.records import LayerResult, LayerStatistics, LayerTiles, MacProfile, TileGrid

# Integers of 8 and of 4 bits, HALO's references: the name in the tables, and the rival that makes them.
REFERENCES: Mapping[str, str] = {"w8a8": "rtn-w8", "w4a8": "rtn-w4-g128-sym"}


def row_hessians(
    model: Any, checkpoint: Checkpoint, windows: np.ndarray, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Return, by layer, how attention weighs errors in the rows of queries, keys and values: [heads, rows, rows].

    The result is empty if one matrix holds queries, keys and values: BoA then rounds by plain GPTQ and notes it.

    Args:
        model: The full-precision model.
        checkpoint: Its checkpoint.
        windows: Calibration windows [windows, tokens].
        progress: Called with windows done and windows in all.
    """
    from haloquant.lm.calibration.attention_hessian import collect_row_hessians

    try:
        return collect_row_hessians(model, checkpoint, windows, progress)
    except InputError:
        return {}


def smoothing_scales(
    checkpoint: Checkpoint, maxima: Mapping[str, LayerStatistics], alpha: float
) -> dict[str, np.ndarray]:
    """Return SmoothQuant's scale [in] of every layer whose input a norm makes, which takes the division.

    As in the authors' code, other inputs have no scale. Layers that calibration did not reach have none either.

    Args:
        checkpoint: The model.
        maxima: Statistics by layer, with the largest inputs.
        alpha: Migration strength, 0 to 1.
    """
    layers = {layer.name: layer for layer in checkpoint.layers}
    found: dict[str, np.ndarray] = {}
    for place in norm_places(checkpoint):
        known = maxima[place.layers[0]]
        if known.input_absmax is not None:
            weights = tuple(read_weight(checkpoint, layers[name]) for name in place.layers)
            config = SmoothQuantConfig(alpha)
            scale = smoothquant.scaling(weights, known, config, layer=", ".join(place.layers)).scale
            found |= dict.fromkeys(place.layers, scale)
    return found


def norm_places(checkpoint: Checkpoint) -> tuple[Fold, ...]:
    """Return the inputs that a norm makes for some layers alone, so that it can take the division by their scale."""
    return tuple(place for place in folds(checkpoint) if place.producer is None)


def array_tiles(result: LayerResult, grid: TileGrid, profile: MacProfile, corner: int) -> LayerTiles | None:
    """Return the tiles of a rival's layer, all in class 0, or None if this MAC cannot multiply the method's weights.

    An integer that is narrower than the MAC's weight may be multiplied by a power of two, because its scale can be
    divided by the same power. `best_shift` chooses it. The result is None if the method has no integers, or if
    the profile lacks one of them.
    """
    if result.mac_values is None:
        return None
    values = np.unique(result.mac_values)
    shift = best_shift(profile, corner, values)
    if shift is None:
        return None
    tiles = value_tiles(result.layer, result.mac_values << shift, grid, result.bits, result.sparse_nnz)
    return replace(tiles, branch_rank=result.branch_rank)


def clock_ratio(tiles: Mapping[str, LayerTiles], classes: Classes) -> float:
    """Return how many times faster than the base clock the MAC can run with the values that occur in these tiles."""
    profile, corner = classes.profile, classes.corner
    slowest_s = 0.0
    for record in tiles.values():
        present = record.values[record.histogram.any(axis=(0, 1))]
        slowest_s = max(slowest_s, slowest_delay_s(profile, corner, present))
    return float(profile.delay_s[corner].max()) / slowest_s if slowest_s else 1.0
