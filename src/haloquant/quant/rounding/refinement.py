"""Refinement of a quantized layer: coordinate descent on scales, codes and sparse values, tile by tile.

Compensation rounds each column once. Refinement visits every tile of an output channel again and holds all other tiles
fixed. With g = (w - q) H and c the words of the tile, the scale moves by its least-squares step
delta = <c, g> / (c H c). Each code moves to the word nearest to q_j + g_j / H_jj, where the loss is least. Both steps
lower the loss (w - q) H (w - q)^T of the damped Hessian or leave it as it is. A new scale is rounded to float16; if
that raises the loss, the old scale is kept.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from numba import njit, prange

from haloquant.quant.hessian import layer_hessian, row_parts
from haloquant.quant.layer import dequantize, quantize_weight_compensated
from haloquant.quant.rounding import numba_kernels
from haloquant.quant.rounding.compensation import Progress
from haloquant.quant.rounding.linear_algebra import product
from haloquant.quant.rounding.numba_kernels import to_float16
from haloquant.quant.sparse import mask_of, with_values
from haloquant.quant.tiles import classes_by_row, word_table
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseWeights, TileGrid, TileMap
from haloquant.source_code import follow

# Share of the tile columns that is refined by default. All of them would cost more than 1.3 times GPTQ's time
# (bench/quantize.py).
DEFAULT_SHARE = 0.5
# Codebooks from which refinement gained nothing in perplexity: on a real model -0.001 +- 0.005 nats at 16 words, and
# -0.009 +- 0.004 at 9 (docs/stages/quantizer.md).
ENOUGH_WORDS = 16
# Columns of the Hessian in one matrix product. Wider products run faster; the slopes of tiles inside one product are
# updated after each tile.
WIDTH = 512
ROUNDS = 3  # rounds of scale, then codes, at each visit of a tile
PRUNED = 2  # mark of a weight that stays at the word 0, where 1 marks a sparse weight


def refine(
    weight: Float32[np.ndarray, "out in"],
    q: QuantizedWeight,
    hessian: Float32[np.ndarray, "in in"],
    *,
    damping: float = 0.01,
    sweeps: int = 2,
    rounds: int = ROUNDS,
    share: float = 1.0,
    rows: Int64[np.ndarray, " rows"] | None = None,
    pruned: Bool[np.ndarray, "out in"] | None = None,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """Return the same layer with scales, codes and sparse values that have a lower loss.

    Nearly all time of a sweep goes into the product of the error with the Hessian's columns of the visited tiles: out x
    in x in multiply-adds if all tiles are visited. `share` limits it.

    Args:
        weight: weight of the layer before quantization, [out, in].
        q: the layer in HALO form, from any rounding.
        hessian: (2/T) X X^T.
        damping: share of the mean diagonal that is added to the diagonal, so that inputs that calibration did not see
            keep some weight.
        sweeps: passes over the tiles.
        rounds: rounds of scale, then codes, at each visit of a tile.
        share: share of the tile columns that is visited; those with the largest loss by the Hessian's diagonal.
        rows: the output channels that this Hessian holds for and that are refined; all where None.
        pruned: weights that stay at the word 0.
        progress: called with (finished tile columns, tile columns).
    """
    grid = q.tiles.grid
    table, sizes = word_table(q.codebooks)
    extra = np.float32(damping * float(np.trace(hessian, dtype=np.float64)) / hessian.shape[0] or 1.0)
    some = slice(None) if rows is None else rows
    whole = dequantize(q)
    codes, scale, values = q.codes[some].copy(), q.scale[some].copy(), whole if rows is None else whole[rows]
    errors = weight[some] - values
    kept, step = mask_of(q.sparse, grid.in_features)[some].astype(np.uint8), q.sparse.scale[some]
    if pruned is not None:
        kept[pruned[some]] = PRUNED
    classes = classes_by_row(q.tiles)[some]
    losses = np.einsum("oi,oi->i", errors, errors, dtype=np.float64) * np.diagonal(hessian)
    chosen = costliest_tile_columns(losses, grid, share)
    together = max(1, WIDTH // grid.tile_in)
    groups = [chosen[low : low + together] for low in range(0, len(chosen), together)]
    finished = 0
    for group in groups * sweeps:
        columns = np.concatenate([np.arange(part.start, part.stop) for part in group])
        curvature = np.ascontiguousarray(hessian[:, columns])
        slope = product(errors, curvature) + extra * errors[:, columns]
        low = 0
        for part in group:
            high, a = low + part.stop - part.start, part.start // grid.tile_in
            local = curvature[part, low:high].copy()
            local[np.diag_indices(local.shape[0])] += extra
            tile_values, tile_codes, tile_scale = (
                np.ascontiguousarray(values[:, part]),
                np.ascontiguousarray(codes[:, part]),
                scale[:, a].copy(),
            )
            _visit(
                np.ascontiguousarray(slope[:, low:high]),
                local,
                np.ascontiguousarray(kept[:, part]),
                step,
                classes[:, a].copy(),
                table,
                sizes,
                rounds,
                tile_values,
                tile_codes,
                tile_scale,
            )
            if high < columns.size:  # update the slopes of the tiles that this group visits next
                slope[:, high:] += product(values[:, part] - tile_values, np.ascontiguousarray(curvature[part, high:]))
            values[:, part], codes[:, part], scale[:, a] = tile_values, tile_codes, tile_scale
            errors[:, part] = weight[some, part] - tile_values
            low, finished = high, finished + 1
            if progress is not None:
                progress(finished, sweeps * len(chosen))
    if rows is None:
        return QuantizedWeight(q.layer, codes, scale, q.tiles, q.codebooks, with_values(q.sparse, values))
    all_codes, all_scales = q.codes.copy(), q.scale.copy()
    all_codes[rows], all_scales[rows], whole[rows] = codes, scale, values
    return QuantizedWeight(q.layer, all_codes, all_scales, q.tiles, q.codebooks, with_values(q.sparse, whole))


def default_share(tiles: TileMap, codebooks: tuple[Codebook, ...]) -> float:
    """Return the share of the tile columns to refine: half if a tile has fewer than 16 words, none otherwise."""
    return DEFAULT_SHARE if min(codebooks[i].values.size for i in np.unique(tiles.codebook)) < ENOUGH_WORDS else 0.0


def costliest_tile_columns(losses: Float64[np.ndarray, " in"], grid: TileGrid, share: float) -> list[slice]:
    """Return the input features of the tile columns that are visited, from the first to the last.

    Args:
        losses: loss of each input feature by the Hessian's diagonal: the summed squared error times H_jj.
        grid: tiles of the layer.
        share: share of the tile columns that is visited; those with the largest loss.
    """
    starts = np.arange(0, grid.in_features, grid.tile_in)
    count = max(1, round(share * grid.across))
    chosen = np.sort(np.argsort(-np.add.reduceat(losses, starts), kind="stable")[:count])
    return [slice(int(starts[a]), min(int(starts[a]) + grid.tile_in, grid.in_features)) for a in chosen]


def quantize_weight_refined(
    weight: Float32[np.ndarray, "out in"],
    *,
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    statistics: LayerStatistics,
    sparse: SparseWeights | None = None,
    damping: float = 0.01,
    share: float = DEFAULT_SHARE,
    pruned: Bool[np.ndarray, "out in"] | None = None,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """Quantize a layer with error compensation, then refine once the `share` of its tile columns with the largest loss.

    The arguments and errors are those of `layer.quantize_weight_compensated`. `progress` is called with (finished
    blocks, blocks) of compensation, then with (finished tile columns, tile columns) of refinement.
    """
    q = quantize_weight_compensated(
        weight,
        tiles=tiles,
        codebooks=codebooks,
        statistics=statistics,
        sparse=sparse,
        damping=damping,
        pruned=pruned,
        progress=progress,
    )
    return refine_layer(weight, q, statistics, damping=damping, share=share, pruned=pruned, progress=progress)


def refine_layer(
    weight: Float32[np.ndarray, "out in"],
    q: QuantizedWeight,
    statistics: LayerStatistics,
    *,
    damping: float = 0.01,
    share: float = DEFAULT_SHARE,
    pruned: Bool[np.ndarray, "out in"] | None = None,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """Refine once the `share` of the tile columns with the largest loss, under each Hessian of the layer.

    The arguments are those of `refine`; a share of 0 returns the layer as it is.

    Raises:
        InputError: The statistics hold no Hessian of the layer's size.
    """
    if share == 0:
        return q
    for part in row_parts(statistics, weight.shape[0]):
        hessian = layer_hessian(part.statistics, weight.shape[1], method="refinement")
        rows = None if isinstance(part.rows, slice) else part.rows
        q = refine(
            weight, q, hessian, damping=damping, sweeps=1, share=share, rows=rows, pruned=pruned, progress=progress
        )
    return q


@njit(parallel=True, cache=True)
@no_type_check
def _visit(slope, hessian, kept, step, classes, table, sizes, rounds, values, codes, scale):
    """Refine one column of tiles in every output channel.

    `slope` is (w - q) H at the tile's columns; it is updated with every step. `kept` is 1 for weights of the sparse
    part, and PRUNED for those that stay at the word 0.
    """
    rows = values.shape[0]
    for r in prange(rows):
        row = np.int64(r)
        words = table[classes[row]]
        size = sizes[classes[row]]
        g = slope[row]
        for _ in range(rounds):
            _refit_scale(g, hessian, kept[row], words, values[row], codes[row], scale, row)
            if not _move_codes(g, hessian, kept[row], step[row], words, size, values[row], codes[row], scale[row]):
                break


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _refit_scale(g, hessian, kept, words, values, codes, scale, row):
    """Move the scale to its least-squares value if float16 leaves a gain; update values and slope `g`."""
    length = g.size
    if scale[row] == 0:
        return
    c = np.empty(length, np.float32)
    for j in range(length):
        c[j] = np.float32(0.0) if kept[j] else words[codes[j]]
    pull = np.float32(0.0)
    stiffness = np.float32(0.0)
    change = np.zeros(length, np.float32)
    for j in range(length):
        if c[j] != 0:
            pull += c[j] * g[j]
            for i in range(length):
                change[i] += c[j] * hessian[j, i]
    for j in range(length):
        stiffness += c[j] * change[j]
    if stiffness <= 0:
        return
    wanted = to_float16(scale[row] + pull / stiffness)
    delta = wanted - scale[row]
    # The loss changes by delta (delta c H c - 2 <c, g>). Keep the old scale if rounding to float16 made this positive.
    if delta == 0 or wanted == 0 or delta * (delta * stiffness - np.float32(2.0) * pull) >= 0:
        return
    scale[row] = wanted
    for j in range(length):
        g[j] -= delta * change[j]
        if not kept[j]:
            values[j] = words[codes[j]] * wanted


@njit(cache=True, fastmath={"reassoc", "contract"})
@no_type_check
def _move_codes(g, hessian, kept, step, words, size, values, codes, scale):
    """Move each weight of the tile once to the word of least loss. Return whether any weight moved."""
    length = g.size
    moved = False
    for j in range(length):
        stiffness = hessian[j, j]
        wanted = values[j] + g[j] / stiffness
        code = 0
        if kept[j]:
            if step == 0 or kept[j] == PRUNED:
                continue
            value = np.float32(min(127.0, max(-127.0, np.rint(wanted / step)))) * step
        elif scale == 0:
            continue
        else:
            place = wanted / scale
            for k in range(size - 1):
                code += 1 if place > np.float32(0.5) * (words[k] + words[k + 1]) else 0
            if code == codes[j]:
                continue
            value = words[code] * scale
        delta = value - values[j]
        # Move only if the gain is above rounding noise. Otherwise weights at a tie would move back and forth.
        if delta * (delta * stiffness - np.float32(2.0) * g[j]) >= -np.float32(1e-6) * stiffness * delta * delta:
            continue
        moved = True
        values[j] = value
        if not kept[j]:
            codes[j] = code
        for i in range(length):
            g[i] -= delta * hessian[j, i]
    return moved


for _kernel in (_visit, _refit_scale):  # they contain `to_float16`
    follow(_kernel, numba_kernels)
