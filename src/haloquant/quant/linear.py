"""Matrix products and the Cholesky factor that give the same bits on any number of threads.

A BLAS cuts the inner dimension of a long product by the number of threads it has, and so rounds differently; one
changed bit may turn a code over at a tie. Products whose inner dimension is at most 256 are not cut (`tests` check
that of the BLAS at hand), so long ones are summed from such pieces in a fixed order. LAPACK's threaded factorization
has the same fault, hence the blocked one here, whose diagonal blocks are small.
"""

import numpy as np
from jaxtyping import Float32
from scipy.linalg import LinAlgError, cholesky, solve_triangular

PIECE = 256
_BLOCK = 128


def product(a: Float32[np.ndarray, "m k"], b: Float32[np.ndarray, "k n"]) -> Float32[np.ndarray, "m n"]:
    """A @ b, summed from pieces of 256 of the inner dimension, first to last."""
    total = a[:, :PIECE] @ b[:PIECE]
    for low in range(PIECE, a.shape[1], PIECE):
        total += a[:, low : low + PIECE] @ b[low : low + PIECE]
    return total


def upper_factor(matrix: Float32[np.ndarray, "n n"]) -> Float32[np.ndarray, "n n"]:
    """R, upper triangular with positive diagonal, such that matrix = R R^T: Cholesky from the far corner.

    Raises:
        scipy.linalg.LinAlgError: the matrix is not positive definite in float32.
    """
    n = matrix.shape[0]
    factor = np.zeros_like(matrix)
    starts = range((n - 1) // _BLOCK * _BLOCK, -1, -_BLOCK)
    for low in starts:
        high = min(low + _BLOCK, n)
        column = matrix[:high, low:high].copy()
        if high < n:
            column -= product(factor[:high, high:], factor[low:high, high:].T)
        # The corner of the block is factored in float64: it is small, and rounding gathers there.
        corner = column[low:high].astype(np.float64)
        small = cholesky(corner[::-1, ::-1], lower=True, check_finite=False)[::-1, ::-1]
        if not np.all(np.isfinite(small)):
            raise LinAlgError("not finite")
        inverse = solve_triangular(small, np.eye(high - low), lower=False, check_finite=False).astype(np.float32)
        factor[:low, low:high] = product(column[:low], np.ascontiguousarray(inverse.T))
        factor[low:high, low:high] = small
    return factor
