"""Weights that are pruned to the word 0: those that matter least to their output.

Weight w_ij has the score w_ij^2 h_j, where h_j is the importance of input j: the diagonal of the Hessian, which is the
mean square of the input (Wanda, arXiv 2306.11695, which also compares the weights of one output), or Fisher
information. Error compensation then makes good what pruning costs, as SparseGPT does (arXiv 2301.00774). Ps and Qs
(arXiv 2102.11289) prunes and quantizes together in training; here nothing is trained.
"""

import numpy as np
from jaxtyping import Bool, Float32

from haloquant.errors import InputError
from haloquant.quant.sensitivity import importance
from haloquant.records import LayerStatistics


def least_important(
    weight: Float32[np.ndarray, "out in"], importance: Float32[np.ndarray, "rows in"], share: float
) -> Bool[np.ndarray, "out in"]:
    """Return the mask of the share of each output's weights that have the lowest scores.

    Args:
        weight: The weight, with 0 at the places of sparse weights, which count as pruned ones of the dense part.
        importance: Importance of every weight, or one row for all outputs.
        share: Share of the weights of each output, rounded to whole weights.

    Raises:
        InputError: The share is not at least 0 and below 1.
    """
    if not 0 <= share < 1:
        raise InputError(f"the share of pruned weights must be at least 0 and below 1, not {share:g}")
    count = round(share * weight.shape[1])
    scores = weight * weight * importance
    mask = np.zeros(weight.shape, bool)
    if count:
        least = np.argsort(scores, axis=1, kind="stable")[:, :count]  # of equal scores the first, on every machine
        np.put_along_axis(mask, least, True, axis=1)
    return mask


def pruned_weights(
    weight: Float32[np.ndarray, "out in"],
    kept: Bool[np.ndarray, "out in"],
    statistics: LayerStatistics | None,
    share: float,
) -> Bool[np.ndarray, "out in"] | None:
    """Return the mask of the weights of a layer that are pruned, None for a share of 0; sparse weights stay.

    Args:
        weight: The weight.
        kept: The mask of the sparse weights.
        statistics: What calibration measured of the layer; without it the smallest weights are pruned.
        share: Share of the weights of each output.

    Raises:
        InputError: The share is not at least 0 and below 1.
    """
    if not share:
        return None
    dense = np.where(kept, np.float32(0), weight)
    return least_important(dense, importance(statistics, weight.shape[1]), share) & ~kept
