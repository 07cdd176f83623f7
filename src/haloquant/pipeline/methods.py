"""One method on one model: layers quantized, what the array will see of them, and how well the model predicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haloquant.config import Recipe
from haloquant.lm.linear import activations_per_token
from haloquant.lm.perplexity import default_window, perplexity
from haloquant.lm.replace import with_weights
from haloquant.pipeline.hardware import Classes
from haloquant.quant.baselines import rival
from haloquant.quant.tiles import make_grid
from haloquant.types import BitCount, LayerResult, LayerStatistics, LayerTiles, MacProfile, TileGrid, TileMap

# HALO's references: 8-bit and 4-bit integers, by name of the rival that makes them.
REFERENCES: Mapping[str, str] = {"w8a8": "rtn-w8", "w4a8": "rtn-w4-g128-sym"}


@dataclass(frozen=True)
class Accuracy:
    """Perplexity with quantized weights, and with 8-bit activations beside it."""

    perplexity: float
    perplexity_a8: float | None
    tokens: int
    description: str


def quantize_rival(
    name: str,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    progress: Callable[[int, int], None],
) -> dict[str, LayerResult]:
    """Every layer by a rival of that name."""
    method = rival(name)
    results: dict[str, LayerResult] = {}
    for done, (layer, weight) in enumerate(weights.items()):
        results[layer] = method.quantize(weight, statistics[layer], layer=layer)
        progress(done + 1, len(weights))
    return results


def evaluate(
    model: Any,
    weights: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    recipe: Recipe,
    progress: Callable[[int, int], None],
) -> Accuracy:
    """Perplexity of the model computing with these weights (none: its own), and with 8-bit activations beside it."""
    window = default_window(model)
    limit = recipe.text.evaluation_tokens
    windows = max(1, limit // window) if limit else None
    with with_weights(model, weights):
        plain = perplexity(model, tokens, max_windows=windows, progress=progress)
        if recipe.quantize.activations == "none" or not weights:
            return Accuracy(plain.value, None, plain.tokens_scored, plain.describe())
        with activations_per_token(model, list(weights)):
            rounded = perplexity(model, tokens, max_windows=windows, progress=progress)
    return Accuracy(plain.value, rounded.value, plain.tokens_scored, plain.describe())


def array_tiles(result: LayerResult, grid: TileGrid, profile: MacProfile, corner: int) -> LayerTiles | None:
    """What the array sees of a rival's layer, all tiles in class 0; None if it needs a floating-point multiplier.

    An integer narrower than the MAC may stand anywhere in its 8 bits (the scale takes up the power of two). The rival
    gets the place that is fastest on this MAC, and of those the quietest.
    """
    if result.mac_values is None:
        return None
    values, places = np.unique(result.mac_values, return_inverse=True)
    values = best_place(values.astype(np.int16), profile, corner)
    return histogram_tiles(result.layer, values, places.reshape(result.mac_values.shape), grid, result.bits)


def best_place(values: np.ndarray, profile: MacProfile, corner: int) -> np.ndarray:
    """The values times the power of two that keeps them in the profile and is fastest, then quietest."""
    best, key = values, (np.inf, np.inf)
    for shift in range(8):
        moved = values.astype(np.int32) << shift
        if moved.min() < profile.weights[0] or moved.max() > profile.weights[-1]:
            break
        rows = np.searchsorted(profile.weights, moved)
        if not np.array_equal(profile.weights[rows], moved):
            continue
        candidate = (float(profile.delay_s[corner][rows].max()), float(profile.energy_j[corner][rows].mean()))
        if candidate < key:
            best, key = moved.astype(np.int16), candidate
    return best


def histogram_tiles(layer: str, values: np.ndarray, codes: np.ndarray, grid: TileGrid, bits: BitCount) -> LayerTiles:
    """Count in every tile how often each value stands there; padding counts as 0."""
    if 0 not in values:
        values = np.append(values, np.int16(0))
    order = np.argsort(values, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    zero = int(rank[int(np.flatnonzero(values == 0)[0])])
    padded = np.full((grid.down * grid.tile_out, grid.across * grid.tile_in), zero, np.int64)
    padded[: grid.out_features, : grid.in_features] = rank[codes]
    blocks = padded.reshape(grid.down, grid.tile_out, grid.across, grid.tile_in)
    tile = np.arange(grid.down * grid.across).reshape(grid.down, 1, grid.across, 1)
    flat = (tile * len(values) + blocks).reshape(-1)
    counts = np.bincount(flat, minlength=grid.down * grid.across * len(values))
    histogram = counts.reshape(grid.down, grid.across, len(values)).astype(np.int64)
    classes = np.zeros((grid.down, grid.across), np.uint8)
    return LayerTiles(layer, grid, classes, values[order].astype(np.int16), histogram, 0, bits)


def tile_maps(shapes: Mapping[str, tuple[int, int]], tile: int, index: int) -> dict[str, TileMap]:
    """Every tile of every layer in one class."""
    maps: dict[str, TileMap] = {}
    for layer, (out_features, in_features) in shapes.items():
        grid = make_grid(out_features, in_features, tile, tile)
        maps[layer] = TileMap(layer, grid, np.full((grid.down, grid.across), index, np.uint8))
    return maps


def clock_ratio(tiles: Mapping[str, LayerTiles], classes: Classes) -> float:
    """How much faster than the base clock the MAC runs with the slowest value that stands anywhere in these tiles."""
    delay = classes.profile.delay_s[classes.corner]
    worst = 0.0
    for record in tiles.values():
        present = record.values[record.histogram.any(axis=(0, 1))]
        worst = max(worst, float(delay[np.searchsorted(classes.profile.weights, present)].max()))
    return float(delay.max()) / worst if worst else 1.0
