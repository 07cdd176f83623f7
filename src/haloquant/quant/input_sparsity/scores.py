"""Scores of a layer's inputs, and the threshold below which a token does without an input.

An input x_j changes the outputs of y = W x by x_j times column j of W. So the score of an input is |x_j| n_j, where n_j
is the norm of that column. A token keeps the inputs whose score is above a threshold T. T belongs to the layer: it is
the s-quantile of the scores of a calibration sample, so that a share s of the inputs is left out (R-Sparse, arXiv
2504.19449). The norm is that of the weights that the machine multiplies, the de-quantized ones.

All norms of a layer are divided by the largest, and stored in float16. Scores are computed in float32.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Float32

from haloquant.errors import InputError

SAMPLE_TOKENS = 512  # of a calibration text; as many as the authors take
MOST_SPARSITY = 0.95  # of a model or a layer; with more, too few inputs are left to speak of a model


@dataclass(frozen=True)
class InputMask:
    """Which inputs a token keeps in one layer: those with |x| * norm > threshold.

    Attributes:
        norm: norms of the columns of the weight, over the largest.
        threshold: a score, float32.
        sparsity: share of the calibration sample's scores that are not above the threshold, as it was measured.
    """

    norm: Float16[np.ndarray, " in"]
    threshold: float
    sparsity: float


def column_norms(weight: Float32[np.ndarray, "out in"]) -> Float16[np.ndarray, " in"]:
    """Return the Euclidean norms of the columns of a weight over the largest of them; zeros for a weight of zeros."""
    largest = float(np.abs(weight).max())
    if largest == 0.0:
        return np.zeros(weight.shape[1], np.float16)
    norms = np.sqrt(np.square(weight / np.float32(largest)).sum(axis=0, dtype=np.float64))
    return (norms / norms.max()).astype(np.float16)


def input_scores(
    x: Float32[np.ndarray, "tokens in"], norm: Float16[np.ndarray, " in"]
) -> Float32[np.ndarray, "tokens in"]:
    """Return |x| times the norm of each input's column."""
    return np.abs(x) * norm.astype(np.float32)


def score_thresholds(
    x: Float32[np.ndarray, "tokens in"], norm: Float16[np.ndarray, " in"], levels: Sequence[float]
) -> tuple[tuple[float, float], ...]:
    """Return the thresholds that leave out given shares of the inputs of a sample, each with its measured share.

    The measured share is larger than the given one where scores are equal to the threshold, as those of inputs that are
    0 after a ReLU. It can be smaller by the share of one score.

    Args:
        x: inputs of the layer, one row for each token of the sample.
        norm: norms of the weight's columns.
        levels: shares from 0 to `MOST_SPARSITY`. For 0 the threshold is negative, so every input is kept.

    Raises:
        InputError: The sample is empty or not finite.
    """
    if not x.size:
        raise InputError("thresholds of inputs must be found from at least one token, not 0")
    if not np.isfinite(x).all():
        raise InputError("thresholds of inputs must be found from finite inputs, and some are NaN or infinite")
    scores = input_scores(x, norm)
    found = np.quantile(scores, np.asarray(levels, np.float64))
    thresholds = [np.float32(value) if level else np.float32(-1) for value, level in zip(found, levels, strict=True)]
    return tuple((float(threshold), float(np.mean(scores <= threshold))) for threshold in thresholds)
