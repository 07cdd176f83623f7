"""The sparse part of a layer: outliers and salient weights, stored in 8 bits separately from the dense codes."""

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from haloquant.errors import InputError
from haloquant.quant.float16 import round_scales
from haloquant.quant.input_checks import check_weight
from haloquant.records import LayerStatistics, SparseKind, SparseWeights

_LARGEST = 127  # largest value of a symmetric int8
SIGMA = 3.0  # an outlier is farther from the mean than this many standard deviations of the layer
SALIENT = 0.0005  # share of all weights that are kept for their Fisher information


def split(
    weight: Float32[np.ndarray, "out in"],
    statistics: LayerStatistics | None = None,
    *,
    layer: str = "weight",
    budget: float = 0.005,
    sigma: float = SIGMA,
    salient: float = SALIENT,
) -> tuple[SparseWeights, Bool[np.ndarray, "out in"]]:
    """Choose the weights that are kept in 8 bits: salient weights by Fisher, then outliers by magnitude.

    Salient weights are chosen first. The outliers farthest from the mean fill the rest of the budget. A weight that is
    both counts as salient. Without a Fisher part there are only outliers.

    Args:
        weight: weight of the layer.
        statistics: may hold the Fisher diagonal.
        layer: name of the layer in error messages.
        budget: greatest share of all weights that are kept.
        sigma: an outlier is farther from the mean than this many standard deviations of the layer.
        salient: share of all weights that are kept for their Fisher information.

    Returns:
        The sparse weights, and the mask of their places.

    Raises:
        InputError: A share is not within 0..1, or sigma is not positive.
        CheckpointError: The weight is not finite.
    """
    check_weight(weight, layer)
    check_split(budget, sigma, salient)
    flat = weight.ravel()
    mean = float(flat.mean(dtype=np.float64))
    # The sum is in float64, but no float64 copy of the layer is made.
    variance = float(np.einsum("i,i->", flat, flat, dtype=np.float64)) / flat.size - mean**2
    reach = sigma * float(np.sqrt(max(variance, 0.0)))
    outliers = np.nonzero((flat > mean + reach) | (flat < mean - reach))[0]
    most, chosen = int(budget * weight.size), np.empty(0, np.int64)
    if statistics is not None and statistics.fisher is not None:
        chosen = largest(statistics.fisher.ravel(), min(most, int(salient * flat.size)))
    sparse = round_places(weight, *choose_places(weight, chosen, outliers, mean, most))
    return sparse, mask_of(sparse, weight.shape[1])


def choose_places(
    weight: Float32[np.ndarray, "out in"],
    salient: Int64[np.ndarray, " salient"],
    outliers: Int64[np.ndarray, " outliers"],
    mean: float,
    most: int,
) -> tuple[Int64[np.ndarray, " n"], UInt8[np.ndarray, " n"]]:
    """Return the places of the sparse weights in the flat weight, ascending, and the kind of each.

    Args:
        weight: weight of the layer.
        salient: places, in the flat weight, of the largest Fisher information; a weight of 0 is not kept for it.
        outliers: places of the weights beyond the reach, ascending. One that is salient too counts as salient.
        mean: mean of the layer. The outliers farthest from it are kept.
        most: number of weights that are kept at most.
    """
    flat = weight.ravel()
    chosen = salient[flat[salient] != 0]
    if outliers.size:
        at = np.minimum(np.searchsorted(outliers, chosen), outliers.size - 1)
        outliers = np.delete(outliers, at[outliers[at] == chosen])
    distance = np.abs(flat[outliers] - np.float32(mean))
    far = outliers[largest(distance, most - chosen.size)]
    places = np.concatenate([chosen, far])
    kinds = np.repeat(np.array([SparseKind.SALIENT, SparseKind.OUTLIER], np.uint8), [chosen.size, far.size])
    order = np.argsort(places)
    return places[order], kinds[order]


def no_sparse_weights(out_features: int) -> SparseWeights:
    """Return an empty sparse part."""
    empty = np.empty(0, np.int32)
    return SparseWeights(empty, empty, np.empty(0, np.int8), np.zeros(out_features, np.float32), np.empty(0, np.uint8))


def mask_of(sparse: SparseWeights, in_features: int) -> Bool[np.ndarray, "out in"]:
    """Return a mask that is True where the sparse part holds a weight."""
    mask = np.zeros((sparse.scale.size, in_features), bool)
    mask[sparse.rows, sparse.cols] = True
    return mask


def with_values(sparse: SparseWeights, weight: Float32[np.ndarray, "out in"]) -> SparseWeights:
    """Return the same places and scales with int8 values rounded from `weight`; a value is 0 where the scale is 0."""
    scale = sparse.scale[sparse.rows]
    wanted = weight[sparse.rows, sparse.cols]
    steps = np.divide(wanted, scale, out=np.zeros_like(wanted), where=scale != 0)
    integers = np.clip(np.rint(steps), -_LARGEST, _LARGEST).astype(np.int8)
    return SparseWeights(sparse.rows, sparse.cols, integers, sparse.scale, sparse.kind)


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the `count` largest values. Of equal values the lower index is taken, on every machine."""
    if count <= 0 or values.size == 0:
        return np.empty(0, np.int64)
    if count >= values.size:
        return np.arange(values.size)
    edge = np.partition(values, values.size - count)[values.size - count]
    above = np.nonzero(values > edge)[0]
    return np.concatenate([above, np.nonzero(values == edge)[0][: count - above.size]])


def round_places(
    weight: Float32[np.ndarray, "out in"], places: Int64[np.ndarray, " n"], kinds: UInt8[np.ndarray, " n"]
) -> SparseWeights:
    """Round the weights at these ascending places of the flat weight to int8, one float16 scale per output channel."""
    rows, cols = np.divmod(places, weight.shape[1])  # sorted by row, then column
    values = weight[rows, cols]
    top = np.zeros(weight.shape[0], np.float32)
    np.maximum.at(top, rows, np.abs(values))
    scale = round_scales(top / _LARGEST)
    blank = np.zeros(values.size, np.int8)
    return with_values(SparseWeights(rows.astype(np.int32), cols.astype(np.int32), blank, scale, kinds), weight)


def check_split(budget: float, sigma: float, salient: float) -> None:
    """Check the settings of `split`.

    Raises:
        InputError: A share is not within 0..1, or sigma is not positive.
    """
    for name, share in (("budget", budget), ("salient", salient)):
        if not 0 <= share <= 1:
            raise InputError(f"{name} must be a share of all weights within 0..1, not {share}")
    if not sigma > 0:
        raise InputError(f"sigma must be positive, not {sigma}")
