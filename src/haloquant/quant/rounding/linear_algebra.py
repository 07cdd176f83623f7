"""Matrix products and Cholesky factors whose bits do not depend on the number of threads.

A BLAS with several threads cuts a product into parts by their number and rounds each part differently. One changed bit
may change a code at a tie. So every product here is cut into bands of fixed size, and a BLAS with one thread computes
each band. The number of bands that are computed at the same time is the number of threads that the BLAS may use. The
threaded Cholesky factorization of LAPACK has the same problem, so a blocked one is written here.
"""

from concurrent.futures import Executor
from math import ceil

import numpy as np
from jaxtyping import Float32
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from haloquant.quant.rounding.blas_threads import band_workers

_BAND = 512  # most rows or columns of a product that one BLAS call computes
_ALIGNED = 16  # a band is a multiple of this, so that BLAS works on whole vectors
_BLOCK = 128  # columns of the Cholesky factor that are computed together
_SHARED = 1 << 22  # with fewer multiplications than this, starting a second thread takes longer than it saves


def product(a: Float32[np.ndarray, "m k"], b: Float32[np.ndarray, "k n"]) -> Float32[np.ndarray, "m n"]:
    """Return a @ b in float32."""
    with band_workers() as workers:
        return _product(a, b, workers)


def _product(a: np.ndarray, b: np.ndarray, workers: Executor | None) -> np.ndarray:
    """Return a @ b, computed in bands of rows, or in bands of columns if there are few rows and more columns."""
    (m, k), n = a.shape, b.shape[1]
    total = np.empty((m, n), np.float32)
    by_rows = m >= min(n, 4 * _BAND)
    length = m if by_rows else n
    width = _band_width(length)

    def band(low: int) -> None:
        part = slice(low, low + width)
        if by_rows:
            np.matmul(a[part], b, out=total[part])
        else:
            np.matmul(a, b[:, part], out=total[:, part])

    starts = range(0, length, width)
    if workers is None or len(starts) == 1 or m * k * n < _SHARED:
        for low in starts:
            band(low)
    else:
        list(workers.map(band, starts))
    return total


def _band_width(length: int) -> int:
    """Return how many of `length` rows or columns stand in a band: at most `_BAND`, and about equally many in each."""
    if length <= _BAND // 4:
        return max(length, 1)
    bands = 2 * ceil(length / (2 * _BAND))
    return ceil(length / bands / _ALIGNED) * _ALIGNED


def upper_factor(matrix: Float32[np.ndarray, "n n"]) -> Float32[np.ndarray, "n n"]:
    """Return R, upper triangular with positive diagonal, such that matrix = R R^T.

    This is a Cholesky factorization that starts at the last row and column.

    Raises:
        scipy.linalg.LinAlgError: The matrix is not positive definite in float32.
    """
    n = matrix.shape[0]
    factor = np.zeros_like(matrix)
    starts = range((n - 1) // _BLOCK * _BLOCK, -1, -_BLOCK)
    with band_workers() as workers:
        for low in starts:
            high = min(low + _BLOCK, n)
            column = matrix[:high, low:high].copy()
            if high < n:
                column -= _product(factor[:high, high:], factor[low:high, high:].T, workers)
            # The corner of the block is factored in float64: it is small, and rounding errors add up there.
            corner = column[low:high].astype(np.float64)
            small = cholesky(corner[::-1, ::-1], lower=True, check_finite=False)[::-1, ::-1]
            if not np.all(np.isfinite(small)):
                raise LinAlgError("not finite")
            inverse = solve_triangular(small, np.eye(high - low), lower=False, check_finite=False).astype(np.float32)
            factor[:low, low:high] = _product(column[:low], np.ascontiguousarray(inverse.T), workers)
            factor[low:high, low:high] = small
    return factor
