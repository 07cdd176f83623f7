"""A rival method on a layer whose value rows have a Hessian of their own: each part is rounded as a layer."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from jaxtyping import Float32

from haloquant.quant.hessian import row_parts
from haloquant.records import LayerResult, LayerStatistics

NOTE = "fused layers: value rows are rounded with the Hessian weighted by attention, other rows with that of the inputs"


def quantize_by_part(
    method: Callable[..., LayerResult],
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    *,
    layer: str,
    **more: Any,
) -> LayerResult:
    """Return the layer quantized by a method that works row by row, part by part if it has two Hessians.

    Args:
        method: the rival, called with a weight, its statistics, `layer` and the other arguments.
        weight: [out, in].
        statistics: statistics of the layer.
        layer: name of the layer.
        more: further arguments of the method.
    """
    parts = row_parts(statistics, weight.shape[0])
    if len(parts) == 1:
        return method(weight, parts[0].statistics, layer=layer, **more)
    results = [method(weight[part.rows], part.statistics, layer=layer, **more) for part in parts]
    values = np.empty_like(weight)
    integers = None if any(x.mac_values is None for x in results) else np.empty(weight.shape, np.int16)
    for part, result in zip(parts, results, strict=True):
        values[part.rows] = result.weight
        if integers is not None and result.mac_values is not None:
            integers[part.rows] = result.mac_values
    notes = tuple(dict.fromkeys((*(note for result in results for note in result.notes), NOTE)))
    bits = reduce(add, (result.bits for result in results))
    nnz, rank = sum(result.sparse_nnz for result in results), sum(result.branch_rank for result in results)
    return LayerResult(layer, values, bits, integers, notes=notes, sparse_nnz=nnz, branch_rank=rank)
