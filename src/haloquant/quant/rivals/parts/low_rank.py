"""Low-rank side branches: the best B A for what rounding lost, plain or weighted by the layer Hessian."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from scipy.linalg import cholesky, eigh, solve_triangular

from haloquant.errors import InfeasibleError


@dataclass(frozen=True)
class Branch:
    """y += left (right x), both held in float16."""

    left: Float32[np.ndarray, "out rank"]
    right: Float32[np.ndarray, "rank in"]

    @property
    def product(self) -> Float32[np.ndarray, "out in"]:
        """What the branch adds to the weight."""
        return self.left @ self.right


def closest(error: Float32[np.ndarray, "out in"], rank: int) -> Branch:
    """The branch nearest to `error`: its truncated singular value decomposition (Eckart and Young)."""
    left, middle = _leading(error.astype(np.float64), rank)
    return _balance(left, middle)


def closest_output(
    error: Float32[np.ndarray, "out in"], hessian: Float32[np.ndarray, "in in"], rank: int, damping: float = 0.01
) -> Branch:
    """The branch whose output is nearest to that of `error`: min tr((E - B A) H (E - B A)^T).

    With the damped H = L L^T it is the truncated decomposition of E L, times L^-1 on the right.

    Raises:
        InfeasibleError: the damped Hessian is not positive definite.
    """
    damped = hessian.astype(np.float64)
    np.fill_diagonal(damped, np.diag(damped) + damping * max(float(np.diag(damped).mean()), np.finfo(np.float32).tiny))
    try:
        root = cholesky(damped, lower=True, overwrite_a=True)
    except np.linalg.LinAlgError:
        raise InfeasibleError(
            f"the Hessian must be positive definite with damping {damping:g} of its mean diagonal, but is not; "
            "calibrate on more tokens or raise the damping"
        ) from None
    left, middle = _leading(error.astype(np.float64) @ root, rank)
    return _balance(left, solve_triangular(root, middle.T, lower=True, trans=1).T)


def _leading(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The leading left singular vectors U_r, and U_r^T M, by the eigenvectors of the smaller Gram matrix."""
    out, features = matrix.shape
    rank = min(rank, out, features)
    if out <= features:
        left = eigh(matrix @ matrix.T, subset_by_index=[out - rank, out - 1])[1]
    else:
        right = eigh(matrix.T @ matrix, subset_by_index=[features - rank, features - 1])[1]
        left = np.linalg.qr(matrix @ right)[0]
    return left, left.T @ matrix


def _balance(left: np.ndarray, right: np.ndarray) -> Branch:
    """Share the magnitude between both factors, so that neither leaves float16."""
    size = np.sqrt(np.maximum(np.linalg.norm(right, axis=1), np.finfo(np.float64).tiny))
    return Branch(_half(left * size), _half(right / size[:, None]))


def _half(array: np.ndarray) -> np.ndarray:
    return np.clip(array, -65504, 65504).astype(np.float16).astype(np.float32)
