"""The Hessian of one linear layer: H = (2/T) X X^T over the T calibration tokens X, [in, in].

`lm.calibration.hessian` sums X X^T over the tokens, and `records.LayerStatistics` carries H. A weight error E changes
the layer's output by E X, and tr(E H E^T) is twice the mean squared change, summed over the output features.
"""

import numpy as np
from jaxtyping import Float32, Float64

from haloquant.errors import InputError
from haloquant.quant.input_checks import check_matrix, usable_importance
from haloquant.records import LayerStatistics


def layer_hessian(
    statistics: LayerStatistics, in_features: int | None = None, *, method: str
) -> Float32[np.ndarray, "in in"]:
    """Return the layer Hessian.

    Args:
        statistics: statistics of the layer.
        in_features: number of input features of the layer. If it is given, size and finiteness are checked.
        method: the method that needs the Hessian; the error names it.

    Raises:
        InputError: the statistics hold no Hessian, one of another size, or one that is not finite.
    """
    if statistics.hessian is None:
        raise InputError(
            f"layer '{statistics.layer}': {method} needs the layer Hessian, not statistics from "
            f"'{statistics.source}'; collect calibration with Hessians, or choose a data-free method such as rounding "
            "to nearest"
        )
    if in_features is not None:
        check_matrix(statistics.hessian, (in_features, in_features), "Hessian", statistics.layer)
    return statistics.hessian


def hessian_importance(statistics: LayerStatistics) -> Float32[np.ndarray, "1 in"]:
    """Return the diagonal of the layer Hessian as the importance of every weight; it is the same for all outputs.

    Raises:
        InputError: the statistics hold no Hessian, or its diagonal is not finite.
    """
    hessian = layer_hessian(statistics, method="importance by layer inputs")
    return usable_importance(np.diagonal(hessian)[None, :], statistics.layer)


def damped(matrix: np.ndarray, damping: float) -> Float64[np.ndarray, "n n"]:
    """Return a float64 copy of a square matrix with `damping` times its mean diagonal added to the diagonal.

    If the mean diagonal is not positive, `damping` itself is added.
    """
    result = matrix.astype(np.float64)
    mean = float(np.diag(result).mean())
    np.fill_diagonal(result, np.diag(result) + damping * (mean if mean > 0 else 1.0))
    return result


def output_loss(error: Float32[np.ndarray, "out in"], hessian: Float32[np.ndarray, "in in"]) -> float:
    """Return tr(E H E^T): twice the mean squared error of the layer's output, summed over the output features."""
    return float(np.einsum("oi,oi->", error @ hessian, error, dtype=np.float64))
