"""Quantize a layer to HALO's form, given the class of each tile: sparse weights, scales, rounding, refinement."""

import numpy as np

from haloquant.dvfs.classes import Classes
from haloquant.quant.accumulator import check_accumulation
from haloquant.quant.float16 import size_exponent
from haloquant.quant.layer import quantize_weight, resized
from haloquant.quant.paper_method import quantize_weight_to_range, salient_then_outliers
from haloquant.quant.rounding.pruning import least_important
from haloquant.quant.rounding.refinement import default_share, quantize_weight_refined
from haloquant.quant.sensitivity import importance
from haloquant.quant.sparse import split
from haloquant.recipe import Method, Refine
from haloquant.records import LayerStatistics, QuantizedWeight, TileMap


def round_layer(
    weight: np.ndarray,
    statistics: LayerStatistics | None,
    tile_map: TileMap,
    classes: Classes,
    sparse_budget: float,
    compensate: bool,
    refined_share: Refine = "auto",
    method: Method = "haloquant",
    pruned_share: float = 0.0,
) -> QuantizedWeight:
    """Return one layer in HALO form.

    The sparse weights are taken out first; then the scales are searched and the rest is rounded to the words of each
    tile's class. If a Hessian is known and `compensate` is set, rounding errors are compensated, and a share of the
    tiles is refined afterwards; otherwise each weight is rounded to the nearest word. Very small weights are rounded at
    a power of two times their size (`quant.float16.size_exponent`).

    Args:
        weight: The weight matrix [out, in].
        statistics: What calibration measured of the layer; None without calibration.
        tile_map: The class of each tile.
        classes: Codebooks, fastest class first; the last, for all weight values, is not used.
        sparse_budget: Share of the weights that are kept in 8 bits as a sparse matrix.
        compensate: Whether rounding errors are compensated.
        refined_share: Share of the tiles that are refined; `auto` is `refinement.default_share`.
        method: `paper` rounds as the paper describes (`quant.paper_method`); no other setting is used then.
        pruned_share: Share of each output's weights that get the word 0 (`quant.rounding.pruning`).

    Raises:
        InfeasibleError: The layer's sums could overflow 32 bits.
    """
    books = classes.codebooks[:-1]
    check_accumulation(tile_map.layer, weight.shape[1], books)
    exponent = size_exponent(weight)
    if exponent:
        weight = weight * np.float32(2.0**exponent)
    if method == "paper":
        apart = salient_then_outliers(weight, statistics, layer=tile_map.layer)
        return resized(quantize_weight_to_range(weight, tiles=tile_map, codebooks=books, sparse=apart), exponent)
    sparse, kept = split(weight, statistics, layer=tile_map.layer, budget=sparse_budget)
    pruned = None
    if pruned_share:
        dense = np.where(kept, np.float32(0), weight)
        pruned = least_important(dense, importance(statistics, weight.shape[1]), pruned_share) & ~kept
    if statistics is None or statistics.hessian is None or not compensate:
        weight = weight if pruned is None else np.where(pruned, np.float32(0), weight)
        made = quantize_weight(weight, tiles=tile_map, codebooks=books, statistics=statistics, sparse=sparse)
    else:
        share = default_share(tile_map, books) if refined_share == "auto" else refined_share
        made = quantize_weight_refined(
            weight, tiles=tile_map, codebooks=books, statistics=statistics, sparse=sparse, share=share, pruned=pruned
        )
    return resized(made, exponent)
