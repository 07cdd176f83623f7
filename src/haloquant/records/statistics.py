"""The statistics of one linear layer from calibration."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass(frozen=True)
class LayerStatistics:
    """Statistics of one linear layer from calibration. A part that was not measured is None.

    Attributes:
        layer: name of the layer.
        tokens: number T of calibration tokens.
        fisher: mean squared gradient of the loss by each weight (diagonal Fisher information).
        hessian: (2/T) sum of x x^T over the inputs x of the tokens.
        input_absmean: mean magnitude of each input feature over the tokens.
        input_absmax: largest magnitude of each input feature over the tokens.
        source: how the parts were measured, for notes and errors.
    """

    layer: str
    tokens: int
    fisher: Float32[np.ndarray, "out in"] | None = None
    hessian: Float32[np.ndarray, "in in"] | None = None
    input_absmean: Float32[np.ndarray, " in"] | None = None
    input_absmax: Float32[np.ndarray, " in"] | None = None
    source: str = "none"
