"""What calibration knows of one linear layer."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class LayerStatistics:
    """What calibration knows of one linear layer. Absent parts are None, and `source` says how they were made.

    `fisher` is the mean squared gradient per weight; `hessian` is (2/T) sum over T tokens of x x^T; `input_absmean` and
    `input_absmax` are per input feature, over the same tokens.
    """

    layer: str
    tokens: int
    fisher: Float32[np.ndarray, "out in"] | None = None
    hessian: Float32[np.ndarray, "in in"] | None = None
    input_absmean: Float32[np.ndarray, " in"] | None = None
    input_absmax: Float32[np.ndarray, " in"] | None = None
    source: str = "none"
