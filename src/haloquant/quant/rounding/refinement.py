"""After compensation: coordinate descent on the layer's own loss, scales and codes in turn, tile by tile.

Compensation rounds each column once and never looks back. Here every tile of an output channel is visited again with
all others held: its scale gets its least-squares value against the Hessian, delta = <c, g> / (c H c), and each of its
codes moves to the word nearest to where the loss is least, q_j + g_j / H_jj, with g = (w - q) H. No step can raise
the loss (w - q) H (w - q)^T of the damped Hessian, but for the rounding of a scale to float16, which is undone where
it would.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from haloquant.quant.layer import dequantize, quantize_weight_compensated
from haloquant.quant.rounding.compensation import Progress
from haloquant.quant.rounding.kernels import to_half
from haloquant.quant.rounding.linear_algebra import product
from haloquant.quant.sensitivity import layer_hessian
from haloquant.quant.sparse import mask_of, with_values
from haloquant.quant.tiles import word_table
from haloquant.records import Codebook, LayerStatistics, QuantizedWeight, SparseWeights, TileGrid, TileMap

SHARE = 0.5  # of the columns of tiles, in the default: the whole costs more than 1.3 times GPTQ (bench/quantize.py)
_WIDTH = 512  # columns of the Hessian met in one product: a wider one runs faster, tiles within it are kept up to date


def refine(
    weight: Float32[np.ndarray, "out in"],
    q: QuantizedWeight,
    hessian: Float32[np.ndarray, "in in"],
    *,
    damping: float = 0.01,
    sweeps: int = 2,
    rounds: int = 3,
    share: float = 1.0,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """The same layer with scales, codes and sparse values of less loss.

    A sweep costs one product of the error with the Hessian's columns of every tile visited, out x in x in
    multiply-adds for all of them; nearly all of its time. `share` is how that is bounded.

    Args:
        weight: the layer before quantization.
        q: the layer in HALO form, from any rounding.
        hessian: (2/T) X X^T.
        damping: share of the mean diagonal added to the diagonal, so that unseen inputs keep some weight.
        sweeps: passes over the tiles.
        rounds: scale-and-codes rounds within a tile at each visit.
        share: of the columns of tiles, how many are visited: those that lose most by the Hessian's diagonal.
        progress: called with (columns of tiles done, columns of tiles).
    """
    grid = q.tiles.grid
    table, sizes = word_table(q.codebooks)
    extra = np.float32(damping * float(np.trace(hessian, dtype=np.float64)) / hessian.shape[0] or 1.0)
    codes, scale, values = q.codes.copy(), q.scale.copy(), dequantize(q)
    errors = weight - values
    kept = mask_of(q.sparse, grid.in_features)
    classes = np.repeat(q.tiles.codebook, grid.tile_out, axis=0)[: grid.out_features]
    chosen = _worst(errors, hessian, grid, share)
    together = max(1, _WIDTH // grid.tile_in)
    groups = [chosen[low : low + together] for low in range(0, len(chosen), together)]
    done = 0
    for group in groups * sweeps:
        columns = np.concatenate([np.arange(part.start, part.stop) for part in group])
        curvature = np.ascontiguousarray(hessian[:, columns])
        slope = product(errors, curvature) + extra * errors[:, columns]
        low = 0
        for part in group:
            high, a = low + part.stop - part.start, part.start // grid.tile_in
            local = curvature[part, low:high].copy()
            local[np.diag_indices(local.shape[0])] += extra
            block, found, column = (
                np.ascontiguousarray(values[:, part]),
                np.ascontiguousarray(codes[:, part]),
                scale[:, a].copy(),
            )
            _visit(
                np.ascontiguousarray(slope[:, low:high]),
                local,
                np.ascontiguousarray(kept[:, part]),
                q.sparse.scale,
                classes[:, a].copy(),
                table,
                sizes,
                rounds,
                block,
                found,
                column,
            )
            if high < columns.size:  # the tiles of the group still to come see what this one became
                slope[:, high:] += product(values[:, part] - block, np.ascontiguousarray(curvature[part, high:]))
            values[:, part], codes[:, part], scale[:, a] = block, found, column
            errors[:, part] = weight[:, part] - block
            low, done = high, done + 1
            if progress is not None:
                progress(done, sweeps * len(chosen))
    return QuantizedWeight(q.layer, codes, scale, q.tiles, q.codebooks, with_values(q.sparse, values))


def _worst(errors: np.ndarray, hessian: np.ndarray, grid: TileGrid, share: float) -> list[slice]:
    """The columns of tiles that are visited, in their order."""
    starts = np.arange(0, grid.in_features, grid.tile_in)
    loss = np.einsum("oi,oi->i", errors, errors, dtype=np.float64) * np.diagonal(hessian)
    count = max(1, round(share * grid.across))
    worst = np.sort(np.argsort(-np.add.reduceat(loss, starts), kind="stable")[:count])
    return [slice(int(starts[a]), min(int(starts[a]) + grid.tile_in, grid.in_features)) for a in worst]


def quantize_weight_refined(
    weight: Float32[np.ndarray, "out in"],
    *,
    tiles: TileMap,
    codebooks: tuple[Codebook, ...],
    statistics: LayerStatistics,
    sparse: SparseWeights | None = None,
    damping: float = 0.01,
    share: float = SHARE,
    progress: Progress | None = None,
) -> QuantizedWeight:
    """Error compensation, then one sweep of refinement over the `share` of the tiles that lose most.

    Arguments and errors are those of `weight.quantize_weight_compensated`; `progress` counts the blocks of
    compensation, then the tiles of refinement.
    """
    q = quantize_weight_compensated(
        weight,
        tiles=tiles,
        codebooks=codebooks,
        statistics=statistics,
        sparse=sparse,
        damping=damping,
        progress=progress,
    )
    if share == 0:
        return q
    hessian = layer_hessian(statistics, weight.shape[1])
    return refine(weight, q, hessian, damping=damping, sweeps=1, share=share, progress=progress)


@njit(parallel=True, cache=True)
@no_type_check
def _visit(slope, hessian, kept, step, classes, table, sizes, rounds, values, codes, scale):
    """All output channels of one column of tiles; slope = (w - q) H restricted to the tile, kept up to date here."""
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
    wanted = to_half(scale[row] + pull / stiffness)
    delta = wanted - scale[row]
    # The loss changes by delta (delta c H c - 2 <c, g>): keep the old scale where float16 spoils the gain.
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
    """One cyclic pass; returns whether anything moved."""
    length = g.size
    moved = False
    for j in range(length):
        stiffness = hessian[j, j]
        wanted = values[j] + g[j] / stiffness
        code = 0
        if kept[j]:
            if step == 0:
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
        # A move must gain more than rounding noise, or ties would make it wander.
        if delta * (delta * stiffness - np.float32(2.0) * g[j]) >= -np.float32(1e-6) * stiffness * delta * delta:
            continue
        moved = True
        values[j] = value
        if not kept[j]:
            codes[j] = code
        for i in range(length):
            g[i] -= delta * hessian[j, i]
    return moved
