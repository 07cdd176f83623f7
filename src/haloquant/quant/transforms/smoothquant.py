"""SmoothQuant (arXiv 2211.10438): divide input features with large activations and multiply their weights."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.quant.transforms.input_scaling import InputScaling, check_shared
from haloquant.records import LayerStatistics

_LEAST = 1e-5  # smallest scale, and smallest magnitude of a weight column


@dataclass(frozen=True, slots=True)
class SmoothQuantConfig:
    """Settings. `alpha` is the migration strength: 0 scales by the weights alone, 1 by the activations alone."""

    alpha: float = 0.5


def scaling(
    weights: tuple[Float32[np.ndarray, "_ in"], ...],
    statistics: LayerStatistics,
    config: SmoothQuantConfig,
    *,
    layer: str,
) -> InputScaling:
    """Return s_j = max|X_j|^alpha / max_i|W_ij|^(1 - alpha), with the maximum over the rows of all the weights.

    Args:
        weights: every linear layer that reads this input, each [out, in].
        statistics: with `input_absmax` of the shared input.
        config: the migration strength.
        layer: name of the layer in error messages.

    Returns:
        Scales of at least 1e-5. A feature that was always 0 in calibration gets 1.

    Raises:
        InputError: The statistics hold no maxima, alpha is outside 0..1, or the weights do not share the input.
    """
    if statistics.input_absmax is None:
        raise InputError(
            f"layer '{layer}': smoothquant needs the largest inputs, not statistics from '{statistics.source}'; "
            "collect calibration with layer inputs"
        )
    if not 0 <= config.alpha <= 1:
        raise InputError(f"layer '{layer}': alpha must be between 0 and 1, not {config.alpha:g}")
    check_shared(weights, statistics.input_absmax.size, layer)
    greatest = np.max([np.abs(weight).max(axis=0) for weight in weights], axis=0)
    inputs = statistics.input_absmax.astype(np.float64)
    scale = inputs**config.alpha / np.maximum(greatest, _LEAST) ** (1 - config.alpha)
    scale = np.where(inputs > 0, np.maximum(scale, _LEAST), 1.0)
    return InputScaling("smoothquant", scale.astype(np.float32), (f"alpha {config.alpha:g}",))
