"""SqueezeLLM (arXiv 2306.07629): a table of centroids for every row, by Fisher-weighted k-means."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from haloquant.quant.input_checks import check_weight
from haloquant.quant.rivals.parts.input_checks import need_between, need_fisher
from haloquant.quant.rivals.parts.kmeans import Solver, assign, centroids
from haloquant.quant.rivals.parts.stored_bits import csr_bits
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SqueezeLlmConfig:
    """`outliers` and `salient` are fractions of the weights kept sparse in float16, by magnitude and by Fisher.

    The paper sets its magnitude threshold by quartiles, with a factor tuned to keep 0.45 %; taking the fraction itself
    is the same threshold without the tuning. `solver` "lloyd" is the paper's 50 iterations, "exact" the optimum.
    """

    bits: int = 4
    outliers: float = 0.0
    salient: float = 0.0
    solver: Solver = "exact"


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: SqueezeLlmConfig, *, layer: str
) -> LayerResult:
    """Fisher-weighted k-means of every row, with a sparse part where the configuration asks for one.

    Args:
        weight: [out, in], finite.
        statistics: with the diagonal Fisher.
        config: bits of an index, sparse fractions, solver.
        layer: name for the result and for errors.

    Returns:
        LayerResult: without `mac_values`; the centroids are float16.

    Raises:
        InputError: weights that are not finite, no Fisher, fractions or bits out of range.
    """
    need_between("bits", config.bits, 1, 8, layer)
    need_between("the fraction of outliers", config.outliers, 0, 0.1, layer)
    need_between("the fraction of salient weights", config.salient, 0, 0.1, layer)
    check_weight(weight, layer)
    fisher = need_fisher(statistics, "squeezellm", weight.shape, layer)
    kept = sparse_mask(weight, fisher, config.outliers, config.salient)
    importance = np.where(kept, np.float32(0), np.maximum(fisher, 0)).astype(np.float32)
    table = centroids(weight, importance, 2**config.bits, config.solver)
    table = table.astype(np.float16).astype(np.float32)
    dense = assign(weight, table)
    # The sparse part holds what the dense part misses, so that the sum is right to float16 without a zero in the table.
    sparse = np.where(kept, (weight - dense).astype(np.float16).astype(np.float32), np.float32(0))
    out, features = weight.shape
    return LayerResult(
        layer=layer,
        weight=dense + sparse,
        bits=BitCount(
            weights=weight.size,
            codes=weight.size * config.bits,
            sparse=csr_bits(int(kept.sum()), out, features, 16),
            codebooks=out * 16 * 2**config.bits,
        ),
        notes=("float16 centroids from a table: no integer MAC", f"k-means weighed by {statistics.source}"),
    )


def sparse_mask(
    weight: Float32[np.ndarray, "out in"], fisher: Float32[np.ndarray, "out in"], outliers: float, salient: float
) -> Bool[np.ndarray, "out in"]:
    """The weights of greatest magnitude, and those of greatest Fisher, as fractions of all weights."""
    return _greatest(np.abs(weight), outliers) | _greatest(fisher, salient)


def _greatest(values: np.ndarray, fraction: float) -> np.ndarray:
    count = int(fraction * values.size)
    mask = np.zeros(values.size, bool)
    if count:
        mask[np.argpartition(values.reshape(-1), -count)[-count:]] = True
    return mask.reshape(values.shape)
