"""Low-rank side branches B A that repair a rounding error: nearest to the error itself, or in the layer's output."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.linalg import cholesky, eigh, solve_triangular

from haloquant.errors import InfeasibleError
from haloquant.quant.float16 import LARGEST
from haloquant.quant.hessian import damped


@dataclass(frozen=True)
class Branch:
    """Side branch of a layer: y += left (right x). Both factors hold float16 values."""

    left: Float32[np.ndarray, "out rank"]
    right: Float32[np.ndarray, "rank in"]

    @property
    def product(self) -> Float32[np.ndarray, "out in"]:
        """What the branch adds to the weight."""
        return self.left @ self.right


def closest(error: Float32[np.ndarray, "out in"], rank: int) -> Branch:
    """Return the branch nearest to `error`: its truncated singular value decomposition (Eckart and Young)."""
    left, right = _leading(error.astype(np.float64), rank)
    return _balanced(left, right)


def closest_output(
    error: Float32[np.ndarray, "out in"], hessian: Float32[np.ndarray, "in in"], rank: int, damping: float = 0.01
) -> Branch:
    """Return the branch whose output is nearest to that of `error`: min tr((E - B A) H (E - B A)^T).

    With the damped H = L L^T it is the truncated decomposition of E L, multiplied by L^-1 from the right.

    Args:
        error: E.
        hessian: H of the layer.
        rank: rank of the branch.
        damping: fraction of the mean diagonal of H that is added to its diagonal.

    Raises:
        InfeasibleError: The damped Hessian is not positive definite.
    """
    try:
        root = cholesky(damped(hessian, damping), lower=True, overwrite_a=True)
    except np.linalg.LinAlgError:
        raise InfeasibleError(
            f"the Hessian must be positive definite with damping {damping:g} of its mean diagonal, but is not; "
            "calibrate on more tokens or raise the damping"
        ) from None
    left, right = _leading(error.astype(np.float64) @ root, rank)
    return _balanced(left, solve_triangular(root, right.T, lower=True, trans=1).T)


def _leading(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading left singular vectors U_r of M, and U_r^T M, from the eigenvectors of the smaller Gram matrix."""
    out, features = matrix.shape
    rank = min(rank, out, features)
    if out <= features:
        left = eigh(matrix @ matrix.T, subset_by_index=[out - rank, out - 1])[1]
    else:
        right = eigh(matrix.T @ matrix, subset_by_index=[features - rank, features - 1])[1]
        left = np.linalg.qr(matrix @ right)[0]
    return left, left.T @ matrix


def _balanced(left: np.ndarray, right: np.ndarray) -> Branch:
    """Give both factors about the same magnitude, so that neither leaves the range of float16."""
    size = np.sqrt(np.maximum(np.linalg.norm(right, axis=1), np.finfo(np.float64).tiny))
    return Branch(_to_float16(left * size), _to_float16(right / size[:, None]))


def _to_float16(array: np.ndarray) -> np.ndarray:
    return np.clip(array, -LARGEST, LARGEST).astype(np.float16).astype(np.float32)
