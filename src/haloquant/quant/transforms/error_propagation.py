"""Correction of a weight for errors of its input, in closed form.

X is the full-precision input, and X' the actual input: it comes from quantized layers, or its activations are
rounded. min over V of |W X - V X'|^2 + lambda |V - W|^2 is V = W + W (X - X') X'^T (X' X'^T + lambda I)^-1.
QuartDepth (arXiv 2503.16709) uses it for quantized activations. As the target of layer-wise distillation it is
ZeroQuant-Global.
"""

import numpy as np
from jaxtyping import Float32
from scipy.linalg import solve

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.hessian import damped


def target(
    weight: Float32[np.ndarray, "out in"],
    cross: Float32[np.ndarray, "meant came"],
    hessian: Float32[np.ndarray, "in in"],
    *,
    layer: str,
    damping: float = 0.01,
) -> Float32[np.ndarray, "out in"]:
    """Return the weight whose output on the inputs X' is nearest to the output of `weight` on X.

    Args:
        weight: W, [out, in].
        cross: (2/T) X X'^T; rows belong to the full-precision input.
        hessian: (2/T) X' X'^T over the same tokens.
        layer: name of the layer in error messages.
        damping: lambda as a fraction of the mean diagonal of `hessian`.

    Returns:
        V, [out, in]. Round it with `hessian`.

    Raises:
        InputError: `cross` has not the size of the layer.
        InfeasibleError: The damped Hessian is singular.
    """
    features = weight.shape[1]
    if cross.shape != (features, features):
        raise InputError(f"layer '{layer}': cross statistics must be {features} x {features}, not {cross.shape}")
    moved = weight.astype(np.float64) @ (cross.astype(np.float64) - hessian)
    try:
        return (weight + solve(damped(hessian, damping), moved.T, assume_a="pos").T).astype(np.float32)
    except np.linalg.LinAlgError:
        raise InfeasibleError(
            f"layer '{layer}': the Hessian must be positive definite with damping {damping:g} of its mean diagonal, "
            "but is not; raise the damping"
        ) from None
