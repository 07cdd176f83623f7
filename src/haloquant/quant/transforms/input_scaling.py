"""A scale per input feature: what it does to a weight, to what feeds it, and to what calibration knows of it.

With s > 0, W' = W diag(s) and x' = x / s give the same product. The division is folded into whatever makes x, so
that it costs nothing when the model runs: a normalisation's weight and bias, or the rows of a linear layer before.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from haloquant.errors import InputError
from haloquant.records import LayerStatistics


@dataclass(frozen=True)
class InputScaling:
    """One scale per input feature, shared by all linear layers that read this input."""

    method: str
    scale: Float32[np.ndarray, " in"]  # > 0
    notes: tuple[str, ...] = ()


def scale_weight(
    weight: Float32[np.ndarray, "out in"], scale: Float32[np.ndarray, " in"]
) -> Float32[np.ndarray, "out in"]:
    """W diag(s): what is rounded."""
    return weight * scale


def unscale_weight(
    weight: Float32[np.ndarray, "out in"], scale: Float32[np.ndarray, " in"]
) -> Float32[np.ndarray, "out in"]:
    """W' diag(1/s): what a rounded W' means to the unscaled input."""
    return weight / scale


def fold_into_norm(
    weight: Float32[np.ndarray, " in"], bias: Float32[np.ndarray, " in"] | None, scale: Float32[np.ndarray, " in"]
) -> tuple[Float32[np.ndarray, " in"], Float32[np.ndarray, " in"] | None]:
    """Weight and bias of a LayerNorm or RMSNorm that gives x / s where it gave x."""
    return weight / scale, None if bias is None else bias / scale


def fold_into_linear(
    weight: Float32[np.ndarray, "in before"],
    bias: Float32[np.ndarray, " in"] | None,
    scale: Float32[np.ndarray, " in"],
) -> tuple[Float32[np.ndarray, "in before"], Float32[np.ndarray, " in"] | None]:
    """Weight and bias of a linear layer before that gives x / s where it gave x (v before o, up before down)."""
    return weight / scale[:, None], None if bias is None else bias / scale


def scale_statistics(statistics: LayerStatistics, scale: Float32[np.ndarray, " in"]) -> LayerStatistics:
    """What calibration would have found with x / s as input and W diag(s) as weight.

    H' = diag(1/s) H diag(1/s); means and maxima divide by s; a gradient by W' is the one by W divided by s, so the
    Fisher divides by s^2.
    """
    inverse = (1 / scale).astype(np.float32)
    return replace(
        statistics,
        fisher=None if statistics.fisher is None else statistics.fisher * inverse**2,
        hessian=None if statistics.hessian is None else statistics.hessian * inverse[:, None] * inverse,
        input_absmean=None if statistics.input_absmean is None else statistics.input_absmean * inverse,
        input_absmax=None if statistics.input_absmax is None else statistics.input_absmax * inverse,
    )


def scale_rows(statistics: LayerStatistics, divisor: Float32[np.ndarray, " out"]) -> LayerStatistics:
    """What calibration would have found with diag(1/divisor) W as weight: a gradient by it is the one by W times it."""
    if statistics.fisher is None:
        return statistics
    return replace(statistics, fisher=statistics.fisher * (divisor**2)[:, None])


def powers_of_two(scale: Float32[np.ndarray, " in"]) -> Float32[np.ndarray, " in"]:
    """The nearest powers of two, 2^-6 to 2^6, after the geometric mean has been taken out.

    Multiplying by them is exact in any floating-point type, so that a fold changes nothing but where the point stands.
    """
    logarithm = np.log2(scale.astype(np.float64))
    return np.exp2(np.clip(np.round(logarithm - logarithm.mean()), -6, 6)).astype(np.float32)


def tie_repeated(scale: Float32[np.ndarray, " in"], heads: int, kv_heads: int) -> Float32[np.ndarray, " in"]:
    """One scale for the query heads that share a value head, so that it can be folded into v (grouped-query attention).

    The output projection reads `heads` heads, of which each run of heads / kv_heads is the same value head weighted by
    other attentions. Their scales are replaced by the geometric mean over the run.

    Returns:
        The tied scale, [in] = [heads * head size]. Its first head of every run is what v's rows divide by.

    Raises:
        InputError: the sizes do not divide.
    """
    if heads % kv_heads or scale.size % heads:
        raise InputError(f"{scale.size} features must divide into {heads} heads, and these into {kv_heads} value heads")
    runs = np.log(scale.reshape(kv_heads, heads // kv_heads, scale.size // heads))
    tied = np.exp(runs.mean(axis=1, keepdims=True))
    return np.ascontiguousarray(np.broadcast_to(tied, runs.shape).reshape(-1), np.float32)


def check_shared(weights: tuple[np.ndarray, ...], features: int, layer: str) -> None:
    """Refuse linear layers that cannot share an input.

    Raises:
        InputError: there are none, or one reads another number of features.
    """
    if not weights:
        raise InputError(f"layer '{layer}': at least one weight must read the scaled input, not none")
    for weight in weights:
        if weight.shape[1] != features:
            raise InputError(
                f"layer '{layer}': weights that share an input must read its {features} features, not {weight.shape[1]}"
            )
