"""One method on one model: layers quantized, what the array will see of them, and how well the model predicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from haloquant.accel.rivals import value_tiles
from haloquant.dvfs.classes import Classes
from haloquant.dvfs.operating_points import rows_of, slowest_delay_s
from haloquant.errors import InputError
from haloquant.lm.checkpoint.reader import Checkpoint
from haloquant.quant.rivals.registry import rival
from haloquant.recipe import Recipe
from haloquant.records import LayerResult, LayerStatistics, LayerTiles, MacProfile, TileGrid

# HALO's references: 8-bit and 4-bit integers, by name of the rival that makes them.
REFERENCES: Mapping[str, str] = {"w8a8": "rtn-w8", "w4a8": "rtn-w4-g128-sym"}


@dataclass(frozen=True)
class Accuracy:
    """Perplexity with quantized weights, and with 8-bit activations beside it."""

    perplexity: float
    perplexity_a8: float | None
    tokens: int
    description: str
    window_nats: tuple[float, ...] = ()  # mean of each full window, weights quantized: what two methods are compared by


def quantize_rival(
    name: str,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, LayerStatistics],
    progress: Callable[[int, int], None],
    row_hessians: Mapping[str, np.ndarray] | None = None,
) -> dict[str, LayerResult]:
    """Every layer by a rival of that name; `row_hessians` are what attention makes of errors, for one that asks."""
    method = rival(name)
    results: dict[str, LayerResult] = {}
    for done, (layer, weight) in enumerate(weights.items()):
        more = {"row_hessian": (row_hessians or {}).get(layer)} if method.by_head else {}
        results[layer] = method.quantize(weight, statistics[layer], layer=layer, **more)
        progress(done + 1, len(weights))
    return results


def row_hessians(
    model: Any, checkpoint: Checkpoint, tokens: np.ndarray, limit: int, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """What attention makes of errors in queries, keys and values, by head; `limit` 0 takes the whole text.

    Empty where one matrix holds all three: such layers are rounded by plain GPTQ, which BoA notes.
    """
    from haloquant.lm.calibration.attention_hessian import collect_row_hessians
    from haloquant.lm.calibration.in_memory import cut_windows
    from haloquant.lm.evaluation.perplexity import default_window

    window = default_window(model)
    windows = cut_windows(tokens, window, max(1, (limit or len(tokens)) // window))
    try:
        return collect_row_hessians(model, checkpoint, windows, progress)
    except InputError:
        return {}


def evaluate(
    model: Any,
    weights: Mapping[str, np.ndarray],
    tokens: np.ndarray,
    recipe: Recipe,
    progress: Callable[[int, int], None],
    input_scale: Mapping[str, np.ndarray] | None = None,
) -> Accuracy:
    """Perplexity of the model computing with these weights (none: its own), and with 8-bit activations beside it.

    `input_scale` is that of an equivalent transform: 8 bits then hold x / s. The weights are for x itself.
    """
    # Imported here: what quantizes data-free reads this file's records, and does without torch.
    from haloquant.lm.evaluation.perplexity import default_window, perplexity
    from haloquant.lm.evaluation.rounded_activations import activations_per_token
    from haloquant.lm.swap_weights import with_weights

    window = default_window(model)
    limit = recipe.text.evaluation_tokens
    windows = max(1, limit // window) if limit else None
    with with_weights(model, weights):
        plain = perplexity(model, tokens, max_windows=windows, progress=progress)
        if recipe.quantize.activations == "none" or not weights:
            return Accuracy(plain.value, None, plain.tokens_scored, plain.describe(), plain.window_nats)
        with activations_per_token(model, list(weights), input_scale=input_scale):
            rounded = perplexity(model, tokens, max_windows=windows, progress=progress)
    return Accuracy(plain.value, rounded.value, plain.tokens_scored, plain.describe(), plain.window_nats)


def rise_error(mine: Accuracy, reference: Accuracy) -> float | None:
    """Standard error of `mine`'s perplexity less the reference's, from the differences window by window (delta method).

    Windows are hard or easy for every method alike, so the difference is known far better than either figure. None
    with fewer than two windows, or where the windows are not the same.
    """
    count = len(reference.window_nats)
    if count < 2 or len(mine.window_nats) != count:
        return None
    gaps = np.subtract(mine.window_nats, reference.window_nats)
    return reference.perplexity * float(gaps.std(ddof=1)) / float(np.sqrt(count))


def array_tiles(result: LayerResult, grid: TileGrid, profile: MacProfile, corner: int) -> LayerTiles | None:
    """What the array sees of a rival's layer, all tiles in class 0; None if it needs a floating-point multiplier.

    An integer narrower than the MAC may stand anywhere in its 8 bits (the scale takes up the power of two). The rival
    gets the place that is fastest on this MAC, and of those the quietest.
    """
    if result.mac_values is None:
        return None
    values = np.unique(result.mac_values)
    moved = best_place(values, profile, corner)
    placed = moved[np.searchsorted(values, result.mac_values)]
    return value_tiles(result.layer, placed, grid, result.bits)


def best_place(values: np.ndarray, profile: MacProfile, corner: int) -> np.ndarray:
    """The values times the power of two that keeps them in the profile and is fastest, then quietest."""
    best, key = values, (np.inf, np.inf)
    for shift in range(8):
        moved = values.astype(np.int32) << shift
        if moved.min() < profile.weights[0] or moved.max() > profile.weights[-1]:
            break
        if not np.isin(moved, profile.weights).all():
            continue
        rows = rows_of(profile, moved)
        candidate = (float(profile.delay_s[corner][rows].max()), float(profile.energy_j[corner][rows].mean()))
        if candidate < key:
            best, key = moved.astype(np.int16), candidate
    return best


def clock_ratio(tiles: Mapping[str, LayerTiles], classes: Classes) -> float:
    """How much faster than the base clock the MAC runs with the slowest value that stands anywhere in these tiles."""
    profile, corner = classes.profile, classes.corner
    slowest_s = 0.0
    for record in tiles.values():
        present = record.values[record.histogram.any(axis=(0, 1))]
        slowest_s = max(slowest_s, slowest_delay_s(profile, corner, present))
    return float(profile.delay_s[corner].max()) / slowest_s if slowest_s else 1.0
