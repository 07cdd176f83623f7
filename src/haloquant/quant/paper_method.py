"""The rounding of the HALO paper's algorithm 1, as far as its text describes it.

Salient weights are taken out first, then outliers of what is left. The rest is rounded to the nearest word of its
tile's class, with one scale for each output row of a tile, such that its largest weight is its largest word. The paper
names neither the granularity nor the rule of the scales. It mentions neither compensation nor a search of scales.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Float64, Int64

from haloquant.errors import InputError
from haloquant.quant.float16 import round_scales
from haloquant.quant.input_checks import check_tiles, check_weight
from haloquant.quant.layer import without_sparse
from haloquant.quant.sparse import largest, round_places
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseKind, SparseWeights, TileMap

_DENSE = 255  # kind of a weight that stays in the dense part


def salient_then_outliers(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics | None = None,
    *,
    layer: str = "weight",
    sigma: float = 3.0,
    salient: float = 0.0005,
) -> SparseWeights:
    """Choose the salient weights of a tensor, then the outliers of what is left; there is no budget.

    Args:
        weight: weight of the layer.
        statistics: may hold the Fisher diagonal; without it no weight is salient.
        layer: name of the layer in error messages.
        sigma: an outlier is farther from the mean of the rest than this many of its standard deviations.
        salient: share of all weights that are kept for their Fisher information.

    Raises:
        CheckpointError: The weight is not finite.
    """
    check_weight(weight, layer)
    flat = weight.ravel()
    kinds = np.full(flat.size, _DENSE, np.uint8)
    if statistics is not None and statistics.fisher is not None:
        chosen = largest(statistics.fisher.ravel(), int(salient * flat.size))
        kinds[chosen[flat[chosen] != 0]] = SparseKind.SALIENT
    rest = flat[kinds == _DENSE].astype(np.float64)
    far = np.abs(flat - rest.mean()) > sigma * rest.std()
    kinds[far & (kinds == _DENSE)] = SparseKind.OUTLIER
    places = np.nonzero(kinds != _DENSE)[0]
    return round_places(weight, places, kinds[places])


def quantize_weight_to_range(
    weight: Float32[np.ndarray, "out in"],
    *,
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    sparse: SparseWeights | None = None,
) -> QuantizedWeight:
    """Round every weight to the nearest word; the largest weight of each (output row, tile) is its largest word.

    Where the words reach farther on one side, the shorter side sets the scale, so that nothing is clipped.

    Args:
        weight: [out, in], finite.
        tiles: class of every tile; its grid must fit the weight.
        codebooks: one codebook for each class.
        sparse: weights kept outside the dense part; the dense part holds 0 there.

    Returns:
        The layer in HALO form. A weight exactly between two words takes the lower one.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: Tile map, codebooks and weight do not fit, or a codebook has words of one sign only.
    """
    check_weight(weight, tiles.layer)
    check_tiles(tiles, codebooks, (weight.shape[0], weight.shape[1]))
    sparse, dense = without_sparse(weight, sparse)
    grid = tiles.grid
    starts = np.arange(grid.across) * grid.tile_in
    top = np.maximum.reduceat(np.abs(dense), starts, axis=1)
    kind = np.repeat(tiles.codebook, grid.tile_out, axis=0)[: grid.out_features]  # class of each (row, tile)
    scale = round_scales(top / np.array([_reach(book) for book in codebooks], np.float32)[kind])
    every = np.repeat(scale, grid.tile_in, axis=1)[:, : grid.in_features]
    ratio = np.divide(dense, every, out=np.zeros_like(dense), where=every != 0)
    codes = np.empty(weight.shape, np.uint8)
    place = np.repeat(kind, grid.tile_in, axis=1)[:, : grid.in_features]
    for index, book in enumerate(codebooks):
        words = book.values.astype(np.float32)
        held = place == index
        codes[held] = np.searchsorted((words[1:] + words[:-1]) / 2, ratio[held], side="left")
    return QuantizedWeight(tiles.layer, codes, scale, tiles, codebooks, sparse)


def kept_shares(
    sensitivity: Mapping[str, Float64[np.ndarray, "down across"]],
) -> Float64[np.ndarray, " tiles"]:
    """Return for each tile the share of its layer's sensitivity that more sensitive tiles hold together.

    The paper's rule for a share s: a tile is high-sensitive if this number is below s. So the tiles of all layers
    become slow in the order of this number as s grows from 0 to 1. A layer without sensitivity has 1 everywhere.

    Returns:
        One number for each tile, layer after layer, row after row.

    Raises:
        InputError: A sensitivity is negative or not finite.
    """
    found: list[np.ndarray] = []
    for layer, scores in sensitivity.items():
        flat = scores.ravel().astype(np.float64)
        if not np.isfinite(flat).all() or (flat < 0).any():
            raise InputError(f"the sensitivity of the tiles of {layer} must be finite and at least 0: calibrate again")
        order = np.argsort(-flat, kind="stable")
        before = np.concatenate([[0.0], np.cumsum(flat[order])[:-1]])
        share = np.ones(flat.size)
        if flat.sum() > 0:
            share[order] = np.minimum(before / flat.sum(), 1.0)
        found.append(share)
    return np.concatenate(found)


def slow_order(shares: Float64[np.ndarray, " tiles"]) -> Int64[np.ndarray, " tiles"]:
    """Return the tiles in the order in which they become slow as the kept share grows, ties by tile number."""
    return np.argsort(shares, kind="stable").astype(np.int64)


def _reach(book: Codebook) -> float:
    """Return the largest word of the side that reaches less far."""
    reach = float(min(book.values[-1], -book.values[0]))
    if reach <= 0:
        raise InputError(f"the words of class {book.name} must be of both signs, not {book.values.tolist()}")
    return reach
