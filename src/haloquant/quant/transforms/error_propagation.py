"""Correction of a weight for errors of its input, in closed form.

X is the full-precision input, and X' the actual input: it comes from quantized layers, or its activations are
rounded. min over V of |W X - V X'|^2 + lambda |V - W|^2 is V = W + W (X - X') X'^T (X' X'^T + lambda I)^-1.
QuartDepth (arXiv 2503.16709) uses it for quantized activations. As the target of layer-wise distillation it is
ZeroQuant-Global.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.linalg import solve

from haloquant.errors import InfeasibleError, InputError
from haloquant.quant.hessian import damped

DAMPINGS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, slots=True)
class PairedInputs:
    """Second moments of a layer's full-precision input X and of its actual input X', from two halves of the tokens.

    Attributes:
        layer: name of the layer.
        hessian: (2/T) X' X'^T of the first half, [in, in].
        cross: (2/T) X X'^T of the first half, [in, in]; rows belong to X.
        held_hessian: the same of the second half.
        held_cross: the same of the second half.
    """

    layer: str
    hessian: Float32[np.ndarray, "in in"]
    cross: Float32[np.ndarray, "in in"]
    held_hessian: Float32[np.ndarray, "in in"]
    held_cross: Float32[np.ndarray, "in in"]

    @property
    def all_hessian(self) -> Float32[np.ndarray, "in in"]:
        """(2/T) X' X'^T of both halves, which are taken as equally long."""
        return ((self.hessian + self.held_hessian) / 2).astype(np.float32)

    @property
    def all_cross(self) -> Float32[np.ndarray, "in in"]:
        """(2/T) X X'^T of both halves."""
        return ((self.cross + self.held_cross) / 2).astype(np.float32)


def held_out_target(
    weight: Float32[np.ndarray, "out in"],
    inputs: PairedInputs,
    rounding: Callable[[Float32[np.ndarray, "out in"]], Float32[np.ndarray, "out in"]],
    dampings: Sequence[float] = DAMPINGS,
) -> tuple[Float32[np.ndarray, "out in"], float]:
    """Return the target with the damping that serves tokens best that did not make it, and this damping.

    Each damping makes a target from the first half of the tokens. The target is rounded, and the error of its outputs
    is taken on the second half. `weight` itself, damping infinity, is always a candidate. The target of the best
    damping is then made from all tokens.

    Args:
        weight: W, [out, in].
        inputs: moments of both halves.
        rounding: how the target will be rounded.
        dampings: candidates, as in `target`.

    Raises:
        InputError: the moments have not the size of the layer.
        InfeasibleError: a damped Hessian is singular.
    """
    best, least = np.inf, _held_error(weight, rounding(weight), inputs)
    for damping in dampings:
        made = target(weight, inputs.cross, inputs.hessian, layer=inputs.layer, damping=damping)
        error = _held_error(weight, rounding(made), inputs)
        if error < least:
            best, least = damping, error
    if best == np.inf:
        return weight, best
    return target(weight, inputs.all_cross, inputs.all_hessian, layer=inputs.layer, damping=best), best


def _held_error(weight: np.ndarray, rounded: np.ndarray, inputs: PairedInputs) -> float:
    """Return |W X - Q X'|^2 on the second half, without the part that does not depend on Q."""
    own = np.einsum("oi,oi->", rounded @ inputs.held_hessian, rounded, dtype=np.float64)
    shared = np.einsum("oi,oi->", weight @ inputs.held_cross, rounded, dtype=np.float64)
    return float(own - 2.0 * shared)


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
