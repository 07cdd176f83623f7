"""What a layer should be when its input is no longer what it was: earlier errors made good, in closed form.

With X the full-precision input and X' the one that really comes (quantized activations, quantized layers before),
min over V of |W X - V X'|^2 + lambda |V - W|^2 is V = W + W (X - X') X'^T (X' X'^T + lambda I)^-1. QuartDepth (arXiv
2503.16709) uses it for quantized activations; as the target of layer-wise distillation it is ZeroQuant-Global.
"""

import numpy as np
from jaxtyping import Float32
from scipy.linalg import solve

from haloquant.errors import InfeasibleError, InputError


def target(
    weight: Float32[np.ndarray, "out in"],
    cross: Float32[np.ndarray, "meant came"],
    hessian: Float32[np.ndarray, "in in"],
    *,
    layer: str,
    damping: float = 0.01,
) -> Float32[np.ndarray, "out in"]:
    """The weight that gives, from the inputs that really come, the output that was meant.

    Args:
        weight: W, [out, in].
        cross: (2/T) X X'^T, rows by the full-precision input.
        hessian: (2/T) X' X'^T, over the same tokens.
        layer: name for errors.
        damping: lambda as a fraction of the mean diagonal of `hessian`.

    Returns:
        V, [out, in]; any rounding with `hessian` follows.

    Raises:
        InputError: the matrices do not belong to the layer.
        InfeasibleError: the damped Hessian is singular.
    """
    features = weight.shape[1]
    if cross.shape != (features, features):
        raise InputError(f"layer '{layer}': cross statistics must be {features} x {features}, not {cross.shape}")
    damped = hessian.astype(np.float64)
    np.fill_diagonal(damped, np.diag(damped) + damping * max(float(np.diag(damped).mean()), np.finfo(np.float32).tiny))
    moved = weight.astype(np.float64) @ (cross.astype(np.float64) - hessian)
    try:
        return (weight + solve(damped, moved.T, assume_a="pos").T).astype(np.float32)
    except np.linalg.LinAlgError:
        raise InfeasibleError(
            f"layer '{layer}': the Hessian must be positive definite with damping {damping:g} of its mean diagonal, "
            "but is not; raise the damping"
        ) from None
