"""Masks of inputs in plain loops: one weight, one token and one input at a time. `kept_inputs` is in plain numpy."""

from collections.abc import Sequence
from itertools import product
from math import ceil, floor, sqrt

import numpy as np
from jaxtyping import Bool, Float32

from haloquant.quant.input_sparsity.scores import InputMask, input_scores


def kept_inputs(x: Float32[np.ndarray, "tokens in"], mask: InputMask) -> Bool[np.ndarray, "tokens in"]:
    """Return which inputs every token keeps."""
    return input_scores(x, mask.norm) > np.float32(mask.threshold)


def column_norms(weight: Sequence[Sequence[float]]) -> list[float]:
    """Return the norm of every column over the largest."""
    norms = [sqrt(sum(row[j] ** 2 for row in weight)) for j in range(len(weight[0]))]
    return [norm / max(norms) if max(norms) else 0.0 for norm in norms]


def threshold(x: Sequence[Sequence[float]], norms: Sequence[float], level: float) -> float:
    """Return the level-quantile of the scores |x_j| n_j of all tokens, with linear interpolation between two scores."""
    scores = sorted(abs(value) * norm for token in x for value, norm in zip(token, norms, strict=True))
    place = level * (len(scores) - 1)
    low, high = scores[floor(place)], scores[ceil(place)]
    return low + (high - low) * (place - floor(place))


def masked_product(
    weight: Sequence[Sequence[float]], token: Sequence[float], norms: Sequence[float], limit: float
) -> list[float]:
    """Return W x with only those inputs whose score is above the limit."""
    y = [0.0] * len(weight)
    for j, value in enumerate(token):
        if abs(value) * norms[j] > limit:
            for i, row in enumerate(weight):
                y[i] += row[j] * value
    return y


def best_levels(
    loss: Sequence[Sequence[float]], macs: Sequence[float], levels: Sequence[float], sparsity: float
) -> tuple[float, ...]:
    """Return the levels of least summed loss among all combinations that leave out enough multiply-accumulates."""
    best: tuple[float, tuple[int, ...]] | None = None
    for choice in product(range(len(levels)), repeat=len(macs)):
        left_out = sum(size * levels[level] for size, level in zip(macs, choice, strict=True))
        total = sum(row[level] for row, level in zip(loss, choice, strict=True))
        if left_out >= sparsity * sum(macs) * (1 - 1e-12) and (best is None or total < best[0]):
            best = total, choice
    if best is None:
        raise ValueError("no combination leaves out enough")
    return tuple(levels[level] for level in best[1])
