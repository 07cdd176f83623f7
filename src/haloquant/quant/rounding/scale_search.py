"""Search of one scale per (output channel, tile) against the weighted squared error.

A scale may be negative, because the values that meet a fast clock are often asymmetric (-128, but no 128).
"""

import numpy as np
from jaxtyping import Float32, Int16, UInt8

from haloquant.quant.rounding.numba_kernels import search_and_round
from haloquant.quant.tiles import word_table
from haloquant.records import Codebook, TileMap

# Trial scales: the range of the largest word over the largest weight. At 1 nothing is clipped; a smaller ratio clips
# outliers and makes the steps finer. The trials go from _LOWEST to _HIGHEST in factors of at most _STEP.
_LOWEST, _HIGHEST, _STEP = 0.36, 1.1, 1.085
# For an asymmetric codebook the best scale may let its short side span the weights. So its trials continue until then,
# but at most this factor beyond _HIGHEST.
_FARTHEST = 8.0
ROUNDS = 2  # rounds of assigning words and fitting the scale, after the best trial is found


def search(
    weight: Float32[np.ndarray, "out in"],
    importance: Float32[np.ndarray, "rows in"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
) -> tuple[Float32[np.ndarray, "out across"], UInt8[np.ndarray, "out in"]]:
    """Return one scale per (output channel, tile) that makes sum importance (w - scale word)^2 small, and the codes.

    Fourteen or more trial scales of either sign are compared by the error that remains after a least-squares fit,
    <w,w> - <w,c>^2 / <c,c>, where c are the nearest words. The best is refined by two rounds of assigning words and
    fitting the scale. The tests compare the result with the exact optimum.

    Args:
        weight: [out, in], with 0 at the places of sparse weights.
        importance: [out, in], or [1, in] for all output channels.
        tiles: class of every tile.
        codebooks: one codebook for each class.

    Returns:
        Scales that float16 holds exactly, and the codes of the nearest words. A weight exactly between two words takes
        the lower word (for negative scales: of the mirrored codebook).
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
        ROUNDS,
        scale,
        codes,
    )
    return scale, codes


def trial_ratios(values: Int16[np.ndarray, " codes"]) -> Float32[np.ndarray, " trials"]:
    """Return the scales to try for a codebook, in units of largest weight / largest word, ascending."""
    sides = [float(side) for side in (values[-1], -values[0]) if side > 0]
    highest = _HIGHEST * min(_FARTHEST, max(sides) / min(sides))
    count = int(np.ceil(np.log(highest / _LOWEST) / np.log(_STEP))) + 1
    return np.geomspace(_LOWEST, highest, count).astype(np.float32)
