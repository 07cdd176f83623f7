"""The statistics of one linear layer from calibration."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

ValueHessian = Literal["attention", "inputs"]
CalibrationDtype = Literal["float32", "bfloat16"]
Trained = Literal["scales", "offsets", "both"]  # what `recover` trains
"""The Hessian of value projections: weighted by attention, or the sum over their inputs as for other layers."""

STATISTICS_ARRAYS = ("fisher", "hessian", "input_absmean", "input_absmax", "value_hessian", "value_rows")
"""Names of the fields of `LayerStatistics` that hold arrays."""


@dataclass(frozen=True)
class LayerStatistics:
    """Statistics of one linear layer from calibration. A part that was not measured is None.

    Attributes:
        layer: name of the layer.
        tokens: number T of calibration tokens.
        fisher: mean squared gradient of the loss by each weight (diagonal Fisher information).
        hessian: (2/T) sum of x x^T over the inputs x of the tokens. Of a value projection: the mean over heads of
            (2/T) (A X)^T (A X), where A are the softmax attention probabilities of the head.
        input_absmean: mean magnitude of each input feature over the tokens.
        input_absmax: largest magnitude of each input feature over the tokens.
        value_hessian: the Hessian of the value rows of a layer that holds queries, keys and values in one matrix;
            `hessian` then holds for its other rows only.
        value_rows: which outputs are values. Given together with `value_hessian`.
        source: how the parts were measured, for notes and errors.
    """

    layer: str
    tokens: int
    fisher: Float32[np.ndarray, "out in"] | None = None
    hessian: Float32[np.ndarray, "in in"] | None = None
    input_absmean: Float32[np.ndarray, " in"] | None = None
    input_absmax: Float32[np.ndarray, " in"] | None = None
    value_hessian: Float32[np.ndarray, "in in"] | None = None
    value_rows: Bool[np.ndarray, " out"] | None = None
    source: str = "none"
