"""SqueezeLLM (arXiv 2306.07629): a table of centroids for every row, from k-means weighted by Fisher information."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.quant.input_checks import check_setting, check_weight
from haloquant.quant.rivals.parts.bit_counts import csr_bits
from haloquant.quant.rivals.parts.kmeans import Solver, assign, centroids
from haloquant.quant.sensitivity import layer_fisher
from haloquant.records import BitCount, LayerResult, LayerStatistics


@dataclass(frozen=True, slots=True)
class SqueezeLlmConfig:
    """Settings.

    Attributes:
        bits: bits of an index into the table.
        outliers: fraction of the weights that are kept sparse in float16 for their magnitude. The paper tunes a factor
            of its quartile threshold so that 0.45 % are kept; the fraction gives the same threshold directly.
        salient: fraction of the weights that are kept sparse in float16 for their Fisher information.
        solver: "lloyd" is the paper's, with 50 iterations; "exact" finds the optimum.
    """

    bits: int = 4
    outliers: float = 0.0
    salient: float = 0.0
    solver: Solver = "exact"


def quantize(
    weight: Float32[np.ndarray, "out in"], statistics: LayerStatistics, config: SqueezeLlmConfig, *, layer: str
) -> LayerResult:
    """Quantize one layer by Fisher-weighted k-means of every row, with a sparse part if the settings ask for one.

    Args:
        weight: [out, in], finite.
        statistics: with the diagonal Fisher.
        config: settings.
        layer: name of the layer in the result and in error messages.

    Returns:
        The result. It has no `mac_values`, because the centroids are float16.

    Raises:
        CheckpointError: The weight is not a finite matrix.
        InputError: There is no Fisher part, or a setting is out of range.
    """
    check_setting("bits", config.bits, 1, 8, layer)
    check_setting("the fraction of outliers", config.outliers, 0, 0.1, layer)
    check_setting("the fraction of salient weights", config.salient, 0, 0.1, layer)
    check_weight(weight, layer)
    fisher = layer_fisher(statistics, method="squeezellm", shape=(weight.shape[0], weight.shape[1]))
    kept = _greatest(np.abs(weight), config.outliers) | _greatest(fisher, config.salient)
    importance = np.where(kept, np.float32(0), np.maximum(fisher, 0)).astype(np.float32)
    table = centroids(weight, importance, 2**config.bits, config.solver)
    table = table.astype(np.float16).astype(np.float32)
    dense = assign(weight, table)
    # The sparse part holds the difference to the dense part. So the sum is exact to float16, and the table needs no 0.
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


def _greatest(values: np.ndarray, fraction: float) -> np.ndarray:
    """Mask of the greatest values, as a fraction of all values."""
    count = int(fraction * values.size)
    mask = np.zeros(values.size, bool)
    if count:
        mask[np.argpartition(values.reshape(-1), -count)[-count:]] = True
    return mask.reshape(values.shape)
