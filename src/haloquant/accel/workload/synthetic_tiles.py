"""Tiles of layers without weights, from the layers' shapes and the share of tiles in each class.

They replace a checkpoint where no weights are available. `quant.tile_histogram` counts the tiles of real weights.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int16, Int64

from haloquant.accel.workload.prefill_decode import Workload
from haloquant.errors import InputError
from haloquant.records import BitCount, LayerTiles, TileGrid
from haloquant.records.layer_names import HEADS


@dataclass(frozen=True)
class ClassMix:
    """Tiles of one class: their share of all tiles, and how often each weight value occurs in one of them."""

    share: float
    values: Int16[np.ndarray, " v"]
    frequency: Float64[np.ndarray, " v"]


@dataclass(frozen=True)
class Encoding:
    """Stored bits. Defaults: 4-bit codes, a 16-bit scale per output and tile, no sparse part.

    If there are several classes, each tile also stores its class in one byte.
    """

    code_bits: float = 4.0  # per weight
    scale_bits: float = 16.0  # per output feature and tile
    sparse_share: float = 0.0
    sparse_bits: float = 32.0  # value, index and its share of the row pointers


def gaussian_frequency(values: Int16[np.ndarray, " v"], sigma: float | None = None) -> Float64[np.ndarray, " v"]:
    """Return how often rounding Gaussian weights to the nearest value uses each value; the frequencies sum to 1.

    Args:
        values: Ascending weight values.
        sigma: Standard deviation in units of the values. The default is a third of the largest magnitude, which clips
            about three weights in a thousand.

    Raises:
        InputError: The values are not ascending.
    """
    if len(values) < 1 or bool(np.any(np.diff(values.astype(np.int64)) <= 0)):
        raise InputError("values of a class must be ascending without repeats")
    spread = sigma if sigma is not None else float(np.abs(values.astype(np.int64)).max()) / 3.0 or 1.0
    middle = (values[1:].astype(np.float64) + values[:-1]) / 2.0
    below = [0.5 * (1.0 + math.erf(x / spread / math.sqrt(2.0))) for x in middle.tolist()]
    edges = np.array([0.0, *below, 1.0])
    return np.diff(edges)


def synthetic_tiles(
    layer: str,
    grid: TileGrid,
    mix: Sequence[ClassMix],
    encoding: Encoding | None = None,
    seed: int = 0,
) -> LayerTiles:
    """Return a layer whose tiles have the given classes in random places.

    Shares are rounded to whole tiles and frequencies to whole weights, so that the sums are exact. The padding of a
    tile at the edge counts as weight value 0.

    Raises:
        InputError: A size is not positive, the shares do not sum to 1, or a frequency is negative.
    """
    for name in ("out_features", "in_features", "tile_out", "tile_in"):
        if getattr(grid, name) <= 0:
            raise InputError(f"{name} of {layer} must be at least 1, not {getattr(grid, name)}")
    shares = np.array([part.share for part in mix], np.float64)
    if len(mix) == 0 or bool(np.any(shares < 0)) or abs(float(shares.sum()) - 1.0) > 1e-9:
        raise InputError(f"shares of tile classes must be at least 0 and sum to 1, not {[part.share for part in mix]}")
    for part in mix:
        if len(part.values) != len(part.frequency) or bool(np.any(part.frequency < 0)) or not part.frequency.sum() > 0:
            raise InputError(f"frequencies of a tile class of {layer} must be one per value, at least 0 and not all 0")
    encoding = encoding or Encoding()
    tiles = grid.down * grid.across
    order = np.repeat(np.arange(len(mix), dtype=np.uint8), _apportion(shares, tiles))
    classes = np.random.default_rng(seed).permutation(order).reshape(grid.down, grid.across)
    # values of classes without tiles are left out, which keeps the histogram narrow
    values = np.unique(
        np.concatenate([np.zeros(1, np.int16), *(part.values for part in mix if part.share > 0)])
    ).astype(np.int16)
    zero = int(np.searchsorted(values, 0))
    area = grid.tile_out * grid.tile_in
    histogram = np.zeros((grid.down, grid.across, len(values)), np.min_scalar_type(-area))
    heights = _cells(grid.out_features, grid.tile_out)
    widths = _cells(grid.in_features, grid.tile_in)
    for number, part in enumerate(mix):
        if part.share <= 0:
            continue
        columns = np.searchsorted(values, part.values)
        for cells in np.unique(np.multiply.outer(heights, widths)):
            row = np.zeros(len(values), np.int64)
            row[columns] = _apportion(part.frequency / part.frequency.sum(), int(cells))
            row[zero] += area - int(cells)
            histogram[(classes == number) & (np.multiply.outer(heights, widths) == cells)] = row
    weights = grid.out_features * grid.in_features
    nnz = round(weights * encoding.sparse_share)
    bits = BitCount(
        weights=weights,
        codes=round(weights * encoding.code_bits),
        scales=round(grid.out_features * grid.across * encoding.scale_bits),
        sparse=round(nnz * encoding.sparse_bits),
        codebooks=tiles * 8 if len(mix) > 1 else 0,
    )
    return LayerTiles(layer, grid, classes, values, histogram, nnz, bits)


def synthetic_workload(
    workload: Workload,
    tile_out: int,
    tile_in: int,
    mix: Sequence[ClassMix],
    encoding: Encoding | None = None,
    head_mix: Sequence[ClassMix] | None = None,
    head_encoding: Encoding | None = None,
    seed: int = 0,
) -> dict[str, LayerTiles]:
    """Return tiles for every weight-stationary product of a workload. Layers of equal shape share their arrays.

    The head (`lm_head` in most families) uses `head_mix` and `head_encoding` if they are given. A class number means
    the same operating point in both mixes, so `head_mix` lists all classes, with a share of 0 for those that it does
    not use.
    """
    made: dict[tuple[int, int, bool], LayerTiles] = {}
    named: dict[str, LayerTiles] = {}
    for gemm in workload.gemms:
        if not gemm.weight_stationary:
            continue
        head = gemm.layer in HEADS and head_mix is not None
        key = (gemm.k, gemm.n, head)
        if key not in made:
            used = head_mix if head and head_mix is not None else mix
            coded = head_encoding if head else encoding
            grid = TileGrid(gemm.n, gemm.k, tile_out, tile_in)
            made[key] = synthetic_tiles(gemm.layer, grid, used, coded, seed + len(made))
        named[gemm.layer] = replace(made[key], layer=gemm.layer)
    return named


def _cells(features: int, tile: int) -> Int64[np.ndarray, " tiles"]:
    """Number of features in each tile along one direction. Only the last tile may have fewer than `tile`."""
    count = -(-features // tile)
    sizes = np.full(count, tile, np.int64)
    sizes[-1] = features - (count - 1) * tile
    return sizes


def _apportion(shares: Float64[np.ndarray, " n"], total: int) -> Int64[np.ndarray, " n"]:
    """Whole numbers in proportion to `shares` that sum to `total`, by the largest-remainder method."""
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    rest = total - int(counts.sum())
    if rest > 0:
        counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return counts
