"""Offsets per group that leave every code as it is: QA-LoRA's merged adapter (arXiv 2309.14717), in closed form.

QA-LoRA trains an adapter on the group sums of the input, which merges exactly into the zero points. Layer by layer the
best such adapter is a least-squares problem: with P the [groups, in] matrix that sums a group,
O = E H P^T (P H P^T)^-1 minimises tr((E - O P) H (E - O P)^T) for the error E that rounding left. Codes, and with them
the timing of every weight, stay.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from scipy.linalg import solve

from haloquant.errors import InputError
from haloquant.quant.rivals.parts.input_checks import need_hessian
from haloquant.records import BitCount, LayerResult, LayerStatistics


def with_offsets(
    result: LayerResult,
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    group: int,
    damping: float = 0.01,
) -> LayerResult:
    """Add one float16 offset per (output feature, group of input features) to what any method made of a layer.

    Args:
        result: of any method, ours or a rival's.
        weight: the layer before rounding.
        statistics: with the Hessian.
        group: input features that share an offset.
        damping: fraction of the mean diagonal of P H P^T added to it.

    Returns:
        LayerResult: `mac_values` unchanged; the offset multiplies the group's sum of activations, once per token.

    Raises:
        InputError: no Hessian, or a group below 1.
    """
    if group < 1:
        raise InputError(f"layer '{result.layer}': group must be at least 1 input feature, not {group}")
    hessian = need_hessian(statistics, "an offset", weight.shape, result.layer)
    starts = np.arange(0, weight.shape[1], group)
    by_group = np.add.reduceat(hessian.astype(np.float64), starts, axis=1)
    pooled = np.add.reduceat(by_group, starts, axis=0)
    np.fill_diagonal(pooled, np.diag(pooled) + damping * max(float(np.diag(pooled).mean()), np.finfo(np.float32).tiny))
    error = (weight - result.weight).astype(np.float64)
    offsets = solve(pooled, (error @ by_group).T, assume_a="pos").T.astype(np.float16).astype(np.float32)
    return replace(
        result,
        weight=result.weight + np.repeat(offsets, group, axis=1)[:, : weight.shape[1]],
        bits=result.bits + BitCount(scales=16 * offsets.size),
        quantized=None,
        notes=(*result.notes, f"a float16 offset per {group} input features, applied to their sum"),
    )
