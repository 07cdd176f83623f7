"""Scales searched against the weighted error, their sign free: fast sets are often lopsided (-128, but no 128)."""

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from haloquant.quant.rounding.kernels import moments, round_nearest, search_and_round
from haloquant.quant.tiles import word_table
from haloquant.records import Codebook, TileMap

# Range of the largest word over the largest weight: 1 clips nothing, small ratios clip outliers for finer steps.
# A lopsided set may do best with its short side spanning the weights, so its range goes on until that does.
_LOWEST, _HIGHEST, _STEP = 0.36, 1.1, 1.085
_FARTHEST = 8.0
_ROUNDS = 2


def search(
    weight: Float32[np.ndarray, "out in"],
    importance: Float32[np.ndarray, "rows in"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
) -> tuple[Float32[np.ndarray, "out across"], UInt8[np.ndarray, "out in"]]:
    """One scale per (output channel, tile) that makes sum importance (w - scale word)^2 small, and the nearest codes.

    Fourteen or more ranges of either sign are tried; each is judged by the error left after its own least-squares
    refit, <w,w> - <w,c>^2 / <c,c>, and the best is refined by two rounds of assign and refit. `search_slowly` is the
    exact twin.

    Args:
        weight: what to represent; 0 at places that the sparse part holds.
        importance: [out, in], or [1, in] for all output channels.
        tiles: class of every tile.
        codebooks: the classes.

    Returns:
        Scales, representable in float16, and codes.
    """
    grid = tiles.grid
    table, sizes = word_table(codebooks)
    scale = np.zeros((grid.out_features, grid.across), np.float32)
    codes = np.zeros(weight.shape, np.uint8)
    ranges = [trial_ratios(codebook.values) for codebook in codebooks]
    trials = np.array([part.size for part in ranges])
    ratios = np.stack([np.pad(part, (0, int(trials.max()) - part.size)) for part in ranges])
    search_and_round(
        weight,
        importance,
        tiles.codebook,
        grid.tile_out,
        grid.tile_in,
        table,
        sizes,
        ratios,
        trials,
        _ROUNDS,
        scale,
        codes,
    )
    return scale, codes


def trial_ratios(values: Int16[np.ndarray, " codes"]) -> Float32[np.ndarray, " trials"]:
    """Scales to try for a codebook, in units of largest weight over largest word."""
    sides = [float(side) for side in (values[-1], -values[0]) if side > 0]
    highest = _HIGHEST * min(_FARTHEST, max(sides) / min(sides))
    count = int(np.ceil(np.log(highest / _LOWEST) / np.log(_STEP))) + 1
    return np.geomspace(_LOWEST, highest, count).astype(np.float32)


def search_per_tile(
    weight: Float32[np.ndarray, "out in"],
    importance: Float32[np.ndarray, "rows in"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
) -> Float32[np.ndarray, "out across"]:
    """One scale per tile, for ablation, repeated over the tile's output channels."""
    grid = tiles.grid
    groups = np.repeat(np.arange(grid.down), grid.tile_out)[: grid.out_features, None] * grid.across + np.arange(
        grid.across
    )
    return _search_groups(weight, importance, tiles, codebooks, groups)


def search_per_channel(
    weight: Float32[np.ndarray, "out in"],
    importance: Float32[np.ndarray, "rows in"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
) -> Float32[np.ndarray, "out across"]:
    """One scale per output channel, for ablation, repeated over its tiles."""
    grid = tiles.grid
    groups = np.repeat(np.arange(grid.out_features)[:, None], grid.across, axis=1)
    return _search_groups(weight, importance, tiles, codebooks, groups)


def nearest_codes(
    weight: Float32[np.ndarray, "out in"],
    scale: Float32[np.ndarray, "out across"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
) -> UInt8[np.ndarray, "out in"]:
    """Code of the nearest word of every weight under given scales; a tie goes to the word of lower magnitude order.

    Nearest is decided by midpoints of ascending words; of two equally near, the one that is smaller times |scale| is
    taken.
    """
    grid = tiles.grid
    table, sizes = word_table(codebooks)
    codes = np.zeros(weight.shape, np.uint8)
    round_nearest(weight, scale, tiles.codebook, grid.tile_out, grid.tile_in, table, sizes, codes)
    return codes


def halved(scale: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Scales as float16 stores them, clipped to its range; what is too small for it becomes its smallest step."""
    clipped = np.clip(scale, -65504.0, 65504.0)
    kept = clipped.astype(np.float16).astype(np.float32)
    return np.where((kept == 0) & (scale != 0), np.copysign(np.float32(2.0**-24), scale), kept).astype(np.float32)


def _search_groups(
    weight: np.ndarray, importance: np.ndarray, tiles: TileMap, codebooks: tuple[Codebook, ...], groups: np.ndarray
) -> np.ndarray:
    """One scale for every group of (output channel, tile) places: the same search, moments summed over the group."""
    grid = tiles.grid
    table, sizes = word_table(codebooks)
    count = int(groups.max()) + 1
    starts = np.arange(0, grid.in_features, grid.tile_in)
    largest = np.maximum.reduceat(np.abs(weight), starts, axis=1)
    reach = np.abs(table).max(axis=1)[np.repeat(tiles.codebook, grid.tile_out, axis=0)[: grid.out_features]]
    span = np.zeros(count, np.float32)
    np.maximum.at(span, groups, largest / reach)
    cross, square = np.empty(groups.shape, np.float32), np.empty(groups.shape, np.float32)

    def refit(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moments(
            weight, importance, scale[groups], tiles.codebook, grid.tile_out, grid.tile_in, table, sizes, cross, square
        )
        a = np.bincount(groups.ravel(), cross.ravel(), count)
        b = np.bincount(groups.ravel(), square.ravel(), count)
        fitted = np.divide(a, b, out=scale.astype(np.float64), where=b > 0)
        return fitted, a * fitted

    trials = np.unique(np.concatenate([trial_ratios(codebook.values) for codebook in codebooks]))
    best, gain = span.astype(np.float64), np.full(count, -1.0)
    for sign in (1.0, -1.0):
        for ratio in trials:
            fitted, found = refit((sign * ratio * span).astype(np.float32))
            better = found > gain
            best, gain = np.where(better, fitted, best), np.where(better, found, gain)
    for _ in range(_ROUNDS):
        best, _ = refit(best.astype(np.float32))
    return halved(best.astype(np.float32))[groups]
