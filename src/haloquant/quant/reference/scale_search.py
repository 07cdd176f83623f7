"""Coarser scales than the product's, for ablation, and rounding to nearest under given scales."""

from typing import Literal

import numpy as np
from jaxtyping import Float32, UInt8

from haloquant.quant.float16 import round_scales
from haloquant.quant.rounding.numba_kernels import lookup
from haloquant.quant.rounding.scale_search import ROUNDS, trial_ratios
from haloquant.quant.tiles import classes_by_row, word_table
from haloquant.records import Codebook, TileMap


def nearest_codes(
    weight: Float32[np.ndarray, "out in"],
    scale: Float32[np.ndarray, "out across"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
) -> UInt8[np.ndarray, "out in"]:
    """Return the code of the nearest word of every weight under given scales.

    A weight exactly between two words takes the lower word (for negative scales: of the mirrored codebook). Where the
    scale is 0, the code of the word 0 is taken.
    """
    tile_in = tiles.grid.tile_in
    classes = classes_by_row(tiles)
    codes = np.zeros(weight.shape, np.uint8)
    for a in range(tiles.grid.across):
        part = slice(a * tile_in, (a + 1) * tile_in)
        for index, codebook in enumerate(codebooks):
            words = codebook.values.astype(np.float32)
            for negative in (False, True):
                rows = np.nonzero((classes[:, a] == index) & ((scale[:, a] < 0) == negative))[0]
                ascending = -words[::-1] if negative else words
                middles = np.float32(0.5) * (ascending[:-1] + ascending[1:])
                limits = middles * np.abs(scale[rows, a, None])
                found = np.sum(weight[rows, part][:, :, None] > limits[:, None, :], axis=2)
                if negative:
                    found = words.size - 1 - found
                codes[rows, part] = np.where(scale[rows, a, None] == 0, np.searchsorted(words, 0), found)
    return codes


def search_shared_scales(
    weight: Float32[np.ndarray, "out in"],
    importance: Float32[np.ndarray, "rows in"],
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    *,
    per: Literal["tile", "channel"],
) -> Float32[np.ndarray, "out across"]:
    """Search one scale per tile, or one per output channel, as `rounding.scale_search.search` does for both together.

    Returns:
        Scales that float16 holds exactly, repeated over the places that share them.
    """
    grid = tiles.grid
    down, across = np.arange(grid.out_features)[:, None] // grid.tile_out, np.arange(grid.across)
    rows = np.broadcast_to(np.arange(grid.out_features)[:, None], (grid.out_features, grid.across))
    groups = np.ascontiguousarray(down * grid.across + across if per == "tile" else rows)
    count = int(groups.max()) + 1
    table, _ = word_table(codebooks)
    starts = np.arange(0, grid.in_features, grid.tile_in)
    largest = np.maximum.reduceat(np.abs(weight), starts, axis=1)
    span = np.zeros(count, np.float32)
    np.maximum.at(span, groups, largest / np.abs(table).max(axis=1)[classes_by_row(tiles)])
    words, ones = np.empty(weight.shape, np.float32), np.ones(groups.shape, np.float32)

    def fit(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least-squares scale of each group for the words nearest under `scale`, and the error that it saves."""
        codes = nearest_codes(weight, scale.astype(np.float32)[groups], tiles, codebooks)
        lookup(codes, ones, tiles.codebook, grid.tile_out, grid.tile_in, table, words)
        weighted = importance * words
        cross = np.add.reduceat(weighted * weight, starts, axis=1, dtype=np.float64)
        square = np.add.reduceat(weighted * words, starts, axis=1, dtype=np.float64)
        a = np.bincount(groups.ravel(), cross.ravel(), count)
        b = np.bincount(groups.ravel(), square.ravel(), count)
        fitted = np.divide(a, b, out=scale.astype(np.float64), where=b > 0)
        return fitted, a * fitted

    trials = np.unique(np.concatenate([trial_ratios(codebook.values) for codebook in codebooks]))
    best, gain = span.astype(np.float64), np.full(count, -1.0)
    for sign in (1.0, -1.0):
        for ratio in trials:
            fitted, saved = fit(sign * ratio * span)
            better = saved > gain
            best, gain = np.where(better, fitted, best), np.where(better, saved, gain)
    for _ in range(ROUNDS):
        best, _ = fit(best)
    return round_scales(best.astype(np.float32))[groups]
