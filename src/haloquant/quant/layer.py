"""One linear layer in HALO form: quantized from its weight, and turned back into weights and MAC integers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Int16, UInt8

from haloquant.quant.hessian import RowPart, hessian_importance, layer_hessian, row_parts
from haloquant.quant.input_checks import check_tiles, check_weight
from haloquant.quant.rounding.compensation import (
    Compensated,
    Factor,
    Progress,
    activation_order,
    compensate,
    factorize,
)
from haloquant.quant.rounding.levels import codes_of_levels, level_table
from haloquant.quant.rounding.numba_kernels import lookup
from haloquant.quant.rounding.scale_search import search
from haloquant.quant.sensitivity import importance
from haloquant.quant.sparse import mask_of, no_sparse_weights, with_values
from haloquant.quant.tiles import word_table
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseWeights, TileGrid, TileMap

_COMPENSATION = "error compensation"  # what needs the Hessian, in errors


def quantize_weight(
    weight: Float32[np.ndarray, "out in"],
    *,
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    statistics: LayerStatistics | None = None,
    sparse: SparseWeights | None = None,
) -> QuantizedWeight:
    """Quantize a layer with searched scales and rounding to nearest.

    Args:
        weight: [out, in], finite.
        tiles: class of every tile; its grid must fit the weight.
        codebooks: one codebook for each class.
        statistics: their Fisher part or Hessian weights the scale search. Without them all weights count the same.
        sparse: weights kept outside the dense part (from `sparse.split`); the dense part holds 0 there.

    Returns:
        The layer in HALO form.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: Tile map, codebooks and weight do not fit.
        InfeasibleError: A codebook holds no value except 0.
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
    factors: Sequence[Factor] | None = None,
    pruned: Bool[np.ndarray, "out in"] | None = None,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """Quantize a layer with searched scales, then column-wise error compensation onto the tiles' codebooks.

    Scales are searched before compensation and stay fixed. Columns are rounded by falling Hessian diagonal; codes stay
    at their places. Sparse weights are rounded too: their int8 value is rounded from the compensated weight.

    Args:
        weight: [out, in], finite.
        tiles: class of every tile; its grid must fit the weight.
        codebooks: one codebook for each class.
        statistics: with the layer Hessian, whose diagonal weights the scale search.
        sparse: weights kept beside the dense part.
        damping: share of the Hessian's mean diagonal that is added to its diagonal.
        factors: what `layer_factors` returns, if the caller has it. They do not depend on classes or words.
        pruned: weights that get the word 0; the others make good what this costs.
        progress: called with (finished blocks, blocks).

    Returns:
        The layer in HALO form.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: Tile map, codebooks, statistics and weight do not fit.
        InfeasibleError: A codebook holds no value except 0.
    """
    check_weight(weight, tiles.layer)
    check_tiles(tiles, codebooks, (weight.shape[0], weight.shape[1]))
    layer_hessian(statistics, weight.shape[1], method=_COMPENSATION)
    grid = tiles.grid
    sparse, dense = without_sparse(weight, sparse)
    searched = dense if pruned is None else np.where(pruned, np.float32(0), dense)
    scale, _ = search(searched, hessian_importance(statistics), tiles, codebooks)
    table = level_table(scale, tiles, codebooks)
    kept = mask_of(sparse, grid.in_features) if sparse.values.size else None
    found: list[tuple[RowPart, Compensated]] = []
    if factors is None:
        factors = layer_factors(statistics, grid, damping=damping, layer=tiles.layer)
    for part, factor in zip(row_parts(statistics, weight.shape[0]), factors, strict=True):
        rounded = compensate(
            np.ascontiguousarray(weight[part.rows]),
            factor,
            lambda _index, _columns, _updated, levels=table[part.rows]: levels,
            groups=np.arange(grid.in_features) // grid.tile_in,
            keep=None if kept is None else kept[part.rows],
            keep_step=sparse.scale[part.rows],
            zero=None if pruned is None else pruned[part.rows],
            progress=progress,
        )
        found.append((part, rounded))
    codes, values = _joined(found, weight.shape)
    sparse = with_values(sparse, values)
    return QuantizedWeight(
        tiles.layer, codes_of_levels(codes, scale, tiles, codebooks, sparse), scale, tiles, codebooks, sparse
    )


def layer_factors(
    statistics: LayerStatistics, grid: TileGrid, *, damping: float = 0.01, layer: str = "layer"
) -> tuple[Factor, ...]:
    """Return the factor of each Hessian of a layer, in the order of `row_parts`; columns by falling Hessian diagonal.

    Args:
        statistics: with the layer Hessian.
        grid: tiles of the layer; a block has as many columns as a tile.
        damping: share of the Hessian's mean diagonal that is added to its diagonal.
        layer: name of the layer in error messages.

    Raises:
        InputError: The Hessian is absent, not finite, of another size, or indefinite.
    """
    found: list[Factor] = []
    for part in row_parts(statistics, grid.out_features):
        hessian = layer_hessian(part.statistics, grid.in_features, method=_COMPENSATION)
        blocks = activation_order(np.diagonal(hessian).copy(), grid.tile_in)
        found.append(factorize(hessian, blocks, damping=damping, layer=layer))
    return tuple(found)


def _joined(
    found: list[tuple[RowPart, Compensated]], shape: tuple[int, ...]
) -> tuple[UInt8[np.ndarray, "out in"], Float32[np.ndarray, "out in"]]:
    """Return codes and values of a layer from those of its parts."""
    if len(found) == 1:
        return found[0][1].codes, found[0][1].values
    codes, values = np.empty(shape, np.uint8), np.empty(shape, np.float32)
    for part, rounded in found:
        codes[part.rows], values[part.rows] = rounded.codes, rounded.values
    return codes, values


def dequantize(q: QuantizedWeight) -> Float32[np.ndarray, "out in"]:
    """Return the weights of a layer in HALO form as floating-point numbers.

    A weight is the word of its code times the scale of its (output channel, tile), plus the offset of that tile, if the
    layer has offsets, plus the sparse weight there.
    """
    out = _scaled_words(q, q.scale)
    if q.offset is not None:
        out += np.repeat(q.offset, q.tiles.grid.tile_in, axis=1)[:, : out.shape[1]]
    out[q.sparse.rows, q.sparse.cols] += q.sparse.values.astype(np.float32) * q.sparse.scale[q.sparse.rows]
    return out


def resized(q: QuantizedWeight, exponent: int) -> QuantizedWeight:
    """Return the layer with all scales and offsets divided by 2^exponent."""
    if not exponent:
        return q
    factor = np.float32(2.0**-exponent)
    offset = None if q.offset is None else q.offset * factor
    return replace(q, scale=q.scale * factor, sparse=replace(q.sparse, scale=q.sparse.scale * factor), offset=offset)


def mac_values(q: QuantizedWeight) -> Int16[np.ndarray, "out in"]:
    """Return the integers that the MAC array holds: the words, and 0 where a sparse weight is kept."""
    return _scaled_words(q, np.ones(q.scale.shape, np.float32)).astype(np.int16)


def without_sparse(
    weight: Float32[np.ndarray, "out in"], sparse: SparseWeights | None
) -> tuple[SparseWeights, Float32[np.ndarray, "out in"]]:
    """Return the sparse part (empty if None), and the weight with 0 at its places."""
    dense = np.ascontiguousarray(weight)
    if sparse is None:
        return no_sparse_weights(weight.shape[0]), dense
    return sparse, np.where(mask_of(sparse, weight.shape[1]), np.float32(0), dense)


def _scaled_words(q: QuantizedWeight, scale: Float32[np.ndarray, "out across"]) -> Float32[np.ndarray, "out in"]:
    """The word of every code times the scale of its (output channel, tile)."""
    grid = q.tiles.grid
    table, _ = word_table(q.codebooks)
    out = np.empty(q.codes.shape, np.float32)
    lookup(q.codes, scale, q.tiles.codebook, grid.tile_out, grid.tile_in, table, out)
    return out
