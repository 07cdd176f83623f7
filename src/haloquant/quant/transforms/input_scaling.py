"""A scale per input feature, applied to a weight and to its calibration statistics.

With s > 0, W' = W diag(s) and x' = x / s give the same product. The division is folded into the layer that makes x
(`lm.export.folding`): a normalization, or the rows of a linear layer. So it costs nothing when the model runs.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.records import LayerStatistics


@dataclass(frozen=True)
class InputScaling:
    """One scale per input feature, shared by all linear layers that read this input; `notes` say how it was found."""

    method: str
    scale: Float32[np.ndarray, " in"]  # > 0
    notes: tuple[str, ...] = ()


def scale_weight(
    weight: Float32[np.ndarray, "out in"], scale: Float32[np.ndarray, " in"]
) -> Float32[np.ndarray, "out in"]:
    """Return W diag(s), the weight that is rounded."""
    return weight * scale


def unscale_weight(
    weight: Float32[np.ndarray, "out in"], scale: Float32[np.ndarray, " in"]
) -> Float32[np.ndarray, "out in"]:
    """Return W' diag(1/s): a rounded W' in terms of the unscaled input."""
    return weight / scale


def scale_statistics(statistics: LayerStatistics, scale: Float32[np.ndarray, " in"]) -> LayerStatistics:
    """Return the statistics that calibration would find with input x / s and weight W diag(s).

    The Hessian becomes diag(1/s) H diag(1/s). Means and maxima of the input are divided by s. The gradient by W' is the
    gradient by W divided by s, so the Fisher part is divided by s^2.
    """
    inverse = (1 / scale).astype(np.float32)
    values = statistics.value_hessian
    return replace(
        statistics,
        value_hessian=None if values is None else values * inverse[:, None] * inverse,
        fisher=None if statistics.fisher is None else statistics.fisher * inverse**2,
        hessian=None if statistics.hessian is None else statistics.hessian * inverse[:, None] * inverse,
        input_absmean=None if statistics.input_absmean is None else statistics.input_absmean * inverse,
        input_absmax=None if statistics.input_absmax is None else statistics.input_absmax * inverse,
    )


def scale_rows(statistics: LayerStatistics, divisor: Float32[np.ndarray, " out"]) -> LayerStatistics:
    """Return the statistics that calibration would find with weight diag(1/divisor) W.

    The gradient by this weight is the gradient by W times the divisor, so the Fisher part is multiplied by divisor^2.
    """
    if statistics.fisher is None:
        return statistics
    return replace(statistics, fisher=statistics.fisher * (divisor**2)[:, None])


def powers_of_two(scale: Float32[np.ndarray, " in"]) -> Float32[np.ndarray, " in"]:
    """Divide a scale by its geometric mean and round it to the nearest powers of two, 2^-6 to 2^6.

    Multiplication by a power of two is exact in any floating-point type, so folding such a scale rounds nothing.
    """
    logarithm = np.log2(scale.astype(np.float64))
    return np.exp2(np.clip(np.round(logarithm - logarithm.mean()), -6, 6)).astype(np.float32)


def tie_repeated(scale: Float32[np.ndarray, " in"], heads: int, kv_heads: int) -> Float32[np.ndarray, " in"]:
    """Give the query heads that share a value head one scale, so that it can be folded into the value projection.

    With grouped-query attention the output projection reads `heads` heads. Each run of heads / kv_heads of them is one
    value head under different attention weights. The scales of a run are replaced by their geometric mean.

    Args:
        scale: scale of the output projection's input, [in] = [heads * head size].
        heads: number of query heads.
        kv_heads: number of value heads.

    Returns:
        The tied scale, [in]. The rows of the value projection are divided by the first head of every run.

    Raises:
        InputError: `kv_heads` does not divide `heads`, or `heads` does not divide the features.
    """
    if heads % kv_heads or scale.size % heads:
        raise InputError(
            f"{scale.size} features must be a multiple of {heads} heads, and these of {kv_heads} value heads"
        )
    runs = np.log(scale.reshape(kv_heads, heads // kv_heads, scale.size // heads))
    tied = np.exp(runs.mean(axis=1, keepdims=True))
    return np.ascontiguousarray(np.broadcast_to(tied, runs.shape).reshape(-1), np.float32)


def check_shared(weights: tuple[np.ndarray, ...], features: int, layer: str) -> None:
    """Check that linear layers can share an input.

    Raises:
        InputError: There is no layer, or one reads another number of features.
    """
    if not weights:
        raise InputError(f"layer '{layer}': at least one weight must read the scaled input, not none")
    for weight in weights:
        if weight.shape[1] != features:
            raise InputError(
                f"layer '{layer}': weights that share an input must read its {features} features, not {weight.shape[1]}"
            )
