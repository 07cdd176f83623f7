"""The Hessian of one linear layer: H = (2/T) X X^T over the T calibration tokens X, [in, in].

`lm.calibration.hessian` sums X X^T over the tokens, and `records.LayerStatistics` carries H. A weight error E changes
the layer's output by E X, and tr(E H E^T) is twice the mean squared change, summed over the output features.

The values of attention have a Hessian of their own, weighted by the attention probabilities. A layer that holds
queries, keys and values in one matrix therefore has two, each for some of its rows. `row_parts` divides such a layer,
and a method that works row by row treats each part as a layer.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64, Int64

from haloquant.errors import InputError
from haloquant.quant.input_checks import check_matrix, usable_importance
from haloquant.records import LayerStatistics


@dataclass(frozen=True)
class RowPart:
    """Rows of a layer that share one Hessian: an index of them, and the statistics of a layer of these rows alone."""

    rows: Int64[np.ndarray, " rows"] | slice
    statistics: LayerStatistics


def row_parts(statistics: LayerStatistics, out_features: int) -> tuple[RowPart, ...]:
    """Return the parts of a layer by Hessian: one for most layers; other rows, then value rows, for a fused layer.

    Raises:
        InputError: The value rows belong to a layer of another size, or come without their Hessian.
    """
    values, matrix = statistics.value_rows, statistics.value_hessian
    if values is None and matrix is None:
        return (RowPart(slice(None), statistics),)
    if values is None or matrix is None or values.shape != (out_features,):
        given = "none" if values is None else f"{values.size}"
        raise InputError(
            f"layer '{statistics.layer}': a Hessian of value rows must come with a mask of all {out_features} rows, "
            f"not of {given}; calibrate again"
        )
    parts: list[RowPart] = []
    for rows, hessian in ((np.nonzero(~values)[0], statistics.hessian), (np.nonzero(values)[0], matrix)):
        fisher = None if statistics.fisher is None else statistics.fisher[rows]
        alone = replace(statistics, fisher=fisher, hessian=hessian, value_hessian=None, value_rows=None)
        if rows.size:
            parts.append(RowPart(rows, alone))
    return tuple(parts)


def layer_hessian(
    statistics: LayerStatistics, in_features: int | None = None, *, method: str
) -> Float32[np.ndarray, "in in"]:
    """Return the layer Hessian.

    Args:
        statistics: statistics of the layer.
        in_features: number of input features of the layer. If it is given, size and finiteness are checked.
        method: the method that needs the Hessian; the error names it.

    Raises:
        InputError: The statistics hold no Hessian, one of another size, or one that is not finite.
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


def hessian_importance(statistics: LayerStatistics) -> Float32[np.ndarray, "rows in"]:
    """Return the diagonal of the layer Hessian as the importance of every weight.

    Returns:
        One row [1, in] that holds for all outputs; [out, in] if some rows are values with a Hessian of their own.

    Raises:
        InputError: The statistics hold no Hessian, or its diagonal is not finite.
    """
    hessian = layer_hessian(statistics, method="importance by layer inputs")
    shared = usable_importance(np.diagonal(hessian)[None, :], statistics.layer)
    if statistics.value_rows is None:
        return shared
    result = np.repeat(shared, statistics.value_rows.size, axis=0)
    for part in row_parts(statistics, statistics.value_rows.size):
        diagonal = np.diagonal(layer_hessian(part.statistics, method="importance by layer inputs"))
        result[part.rows] = usable_importance(diagonal[None, :], statistics.layer)
    return result


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
