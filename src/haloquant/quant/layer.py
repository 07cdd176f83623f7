"""One linear layer into HALO form, and what that form means."""

import numpy as np
from jaxtyping import Float32, Int16

from haloquant.quant.format.stored_bits import count_bits
from haloquant.quant.input_checks import check_tiles, check_weight
from haloquant.quant.rounding.compensation import Progress, compensate, factorize, free_blocks
from haloquant.quant.rounding.kernels import lookup
from haloquant.quant.rounding.levels import codes_of_levels, level_table
from haloquant.quant.rounding.scale_search import search
from haloquant.quant.sensitivity import hessian_importance, importance, layer_hessian
from haloquant.quant.sparse import mask_of, none, with_values
from haloquant.quant.tiles import padding, word_table
from haloquant.records import Codebook, LayerResult, LayerStatistics, QuantizedWeight, SparseWeights, TileMap


def quantize_weight(
    weight: Float32[np.ndarray, "out in"],
    *,
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    statistics: LayerStatistics | None = None,
    sparse: SparseWeights | None = None,
) -> QuantizedWeight:
    """Searched scales and nearest rounding; `sparse` weights (from `sparse.split`) are taken out first.

    Args:
        weight: [out, in], finite.
        tiles: class of every tile; its grid must fit the weight.
        codebooks: the classes.
        statistics: Fisher or Hessian that weight the scale search; without them all weights count alike.
        sparse: weights kept beside the dense part.

    Returns:
        The layer in HALO form.

    Raises:
        CheckpointError: the weight is not a finite matrix.
        InputError: tile map, codebooks and weight do not fit.
        InfeasibleError: a codebook holds nothing beside 0.
    """
    check_weight(weight, tiles.layer)
    check_tiles(tiles, codebooks, (weight.shape[0], weight.shape[1]))
    sparse, dense = without_sparse(weight, sparse)
    scale, codes = search(dense, importance(statistics, weight.shape[1]), tiles, codebooks)
    return QuantizedWeight(tiles.layer, codes, scale, tiles, codebooks, sparse)


def quantize_weight_compensated(
    weight: Float32[np.ndarray, "out in"],
    *,
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    statistics: LayerStatistics,
    sparse: SparseWeights | None = None,
    damping: float = 0.01,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """Searched scales, fixed first, then column-wise error compensation onto the tiles' codebooks.

    Columns are rounded in activation order; codes stay in their places, so tiles stay whole. Sparse weights take part:
    their int8 value is rounded from what compensation has made of them by then.

    Args:
        weight: [out, in], finite.
        tiles: class of every tile; its grid must fit the weight.
        codebooks: the classes.
        statistics: with the layer Hessian, whose diagonal weights the scale search.
        sparse: weights kept beside the dense part.
        damping: share of the Hessian's mean diagonal added to it.
        progress: called with (blocks done, blocks).

    Returns:
        The layer in HALO form.

    Raises:
        CheckpointError: the weight is not a finite matrix.
        InputError: tile map, codebooks, statistics and weight do not fit.
        InfeasibleError: a codebook holds nothing beside 0.
    """
    check_weight(weight, tiles.layer)
    check_tiles(tiles, codebooks, (weight.shape[0], weight.shape[1]))
    hessian = layer_hessian(statistics, weight.shape[1])
    grid = tiles.grid
    sparse, dense = without_sparse(weight, sparse)
    scale, _ = search(dense, hessian_importance(statistics), tiles, codebooks)
    blocks = free_blocks(np.diagonal(hessian).copy(), grid.tile_in)
    factor = factorize(hessian, blocks, damping=damping, layer=tiles.layer)
    table = level_table(scale, tiles, codebooks)
    made = compensate(
        np.ascontiguousarray(weight),
        factor,
        lambda _index, _columns, _target: table,
        groups=np.arange(grid.in_features) // grid.tile_in,
        keep=mask_of(sparse, grid.in_features) if sparse.values.size else None,
        keep_step=sparse.scale,
        progress=progress,
    )
    sparse = with_values(sparse, made.values)
    return QuantizedWeight(
        tiles.layer, codes_of_levels(made.codes, scale, tiles, codebooks, sparse), scale, tiles, codebooks, sparse
    )


def without_sparse(
    weight: Float32[np.ndarray, "out in"], sparse: SparseWeights | None
) -> tuple[SparseWeights, Float32[np.ndarray, "out in"]]:
    """The sparse part (empty if None), and the weight with 0 at its places."""
    dense = np.ascontiguousarray(weight)
    if sparse is None:
        return none(weight.shape[0]), dense
    return sparse, np.where(mask_of(sparse, weight.shape[1]), np.float32(0), dense)


def dequantize(q: QuantizedWeight) -> Float32[np.ndarray, "out in"]:
    """What the codes mean: word of the code times the scale of its (output channel, tile), plus the sparse part."""
    grid = q.tiles.grid
    table, _ = word_table(q.codebooks)
    out = np.empty(q.codes.shape, np.float32)
    lookup(q.codes, q.scale, q.tiles.codebook, grid.tile_out, grid.tile_in, table, out)
    out[q.sparse.rows, q.sparse.cols] += q.sparse.values.astype(np.float32) * q.sparse.scale[q.sparse.rows]
    return out


def mac_values(q: QuantizedWeight) -> Int16[np.ndarray, "out in"]:
    """The integers that stand in the MAC array: the words, 0 where the sparse engine does the work."""
    grid = q.tiles.grid
    table, _ = word_table(q.codebooks)
    out = np.empty(q.codes.shape, np.float32)
    ones = np.ones(q.scale.shape, np.float32)
    lookup(q.codes, ones, q.tiles.codebook, grid.tile_out, grid.tile_in, table, out)
    return out.astype(np.int16)


def result(q: QuantizedWeight, notes: tuple[str, ...] = ()) -> LayerResult:
    """The layer as every method reports it: what it computes with, its honest bits, and the integers of the MAC."""
    empty = padding(q.tiles.grid)
    if empty:
        grid = q.tiles.grid
        notes = (*notes, f"{empty} places of {grid.down * grid.across} tiles are padding")
    return LayerResult(q.layer, dequantize(q), count_bits(q), mac_values(q), q, notes)
