"""An offset per group of inputs that leaves every code as it is: QA-LoRA's merged adapter (arXiv 2309.14717).

QA-LoRA trains an adapter on the group sums of the input; it merges exactly into the zero points. Layer by layer the
best such adapter is a least-squares problem with a closed form. With P the [groups, in] matrix that sums each group,
O = E H P^T (P H P^T)^-1 minimizes tr((E - O P) H (E - O P)^T), where E is the rounding error. Codes stay the same, and
with them the delay of every weight value.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from scipy.linalg import solve

from haloquant.errors import InputError
from haloquant.quant.hessian import damped, layer_hessian
from haloquant.records import BitCount, LayerResult, LayerStatistics


def with_offsets(
    result: LayerResult,
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics,
    group: int,
    damping: float = 0.01,
) -> LayerResult:
    """Add one float16 offset per (output feature, group of input features) to the result of any method.

    Args:
        result: the result of HALO or of a rival.
        weight: weight of the layer before rounding.
        statistics: with the Hessian.
        group: input features that share an offset.
        damping: fraction of the mean diagonal of P H P^T that is added to its diagonal.

    Returns:
        The result with `mac_values` unchanged. An offset multiplies the sum of its group's activations, once per token.

    Raises:
        InputError: There is no Hessian, or the group is below 1.
    """
    if group < 1:
        raise InputError(f"layer '{result.layer}': group must be at least 1 input feature, not {group}")
    hessian = layer_hessian(statistics, weight.shape[1], method="an offset")
    starts = np.arange(0, weight.shape[1], group)
    by_group = np.add.reduceat(hessian.astype(np.float64), starts, axis=1)
    pooled = damped(np.add.reduceat(by_group, starts, axis=0), damping)
    error = (weight - result.weight).astype(np.float64)
    offsets = solve(pooled, (error @ by_group).T, assume_a="pos").T.astype(np.float16).astype(np.float32)
    return replace(
        result,
        weight=result.weight + np.repeat(offsets, group, axis=1)[:, : weight.shape[1]],
        bits=result.bits + BitCount(scales=16 * offsets.size),
        quantized=None,
        notes=(*result.notes, f"a float16 offset per {group} input features, applied to their sum"),
    )
