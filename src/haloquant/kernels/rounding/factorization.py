"""The damped Hessian as R R^T, R upper triangular, in torch: the algorithm of `quant.rounding.compensation.factorize`.

The factorization is blocked as on the CPU: products of blocks in float32, and the corner of each block in float64.
"""

from dataclasses import dataclass

import numpy as np
import torch

from haloquant.errors import InputError

BLOCK = 128  # columns of the factor that are computed together, and columns that compensation rounds together


@dataclass(frozen=True)
class TorchFactor:
    """The factor in the order of processing.

    Attributes:
        order: the input that each column stands for, int64 [in].
        unit: R with column j divided by R_jj, float32 [in, in].
        damping: share of the mean diagonal that was added to the diagonal of H.
    """

    order: torch.Tensor
    unit: torch.Tensor
    damping: float


def factorize(hessian: torch.Tensor, damping: float, layer: str) -> TorchFactor:
    """Return the factor of H + damping mean(diag H) I, columns by falling diagonal of H.

    The damping is raised tenfold until the matrix is positive definite in float32.

    Args:
        hessian: (2/T) X X^T, float32 [in, in] on any device.
        damping: share of the mean diagonal that is added.
        layer: name of the layer in error messages.

    Raises:
        InputError: The Hessian is not finite, or is indefinite with every damping up to 10.
    """
    diagonal = hessian.diagonal().cpu().numpy()
    trace = float(diagonal.sum(dtype=np.float64))
    if not np.isfinite(float(hessian.sum(dtype=torch.float64))) or trace < 0:
        raise InputError(f"Hessian of {layer} must be finite and not negative, and is not: calibrate in float32")
    mean = trace / diagonal.size or 1.0
    order = torch.from_numpy(np.argsort(-diagonal, kind="stable")).to(hessian.device)
    share = damping
    while share <= 10:
        matrix = hessian[order[:, None], order[None, :]]
        matrix.diagonal().add_(float(np.float32(share * mean)))
        if _factor_in_place(matrix):
            matrix /= matrix.diagonal().clone()[None, :]
            return TorchFactor(order, matrix, share)
        del matrix
        share *= 10
    raise InputError(
        f"Hessian of {layer} must be positive definite, and is not even if 10 times its mean diagonal is added"
    )


def _factor_in_place(matrix: torch.Tensor) -> bool:
    """Replace a symmetric matrix by R such that matrix = R R^T. Return False if it is not positive definite.

    The factorization starts at the last row and column. A block of columns reads those after it, which hold R already.
    """
    n = matrix.shape[0]
    failed = torch.zeros((), dtype=torch.int32, device=matrix.device)
    for low in range((n - 1) // BLOCK * BLOCK, -1, -BLOCK):
        high = min(low + BLOCK, n)
        column = matrix[:high, low:high].clone()
        if high < n:
            column -= matrix[:high, high:] @ matrix[low:high, high:].T
        corner = column[low:].double()
        small, info = torch.linalg.cholesky_ex(corner.flip(0, 1))
        small, failed = small.flip(0, 1), failed | info
        identity = torch.eye(high - low, dtype=torch.float64, device=matrix.device)
        inverse = torch.linalg.solve_triangular(small, identity, upper=True).float()
        matrix[:low, low:high] = column[:low] @ inverse.T
        matrix[low:high, low:high] = small.float()
        matrix[high:, low:high] = 0
    return int(failed) == 0 and bool(matrix.diagonal().isfinite().all())
