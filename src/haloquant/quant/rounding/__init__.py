"""Rounding weights to the words of their tile's codebook.

`layer_rounder` is a layer while it is rounded. `scale_search` finds scales and nearest codes (kernels:
`numba_kernels`), and `pruning` gives weights the word 0. `compensation` rounds column by column to levels (`levels`)
under the layer Hessian; `refinement` improves its result tile by tile. `linear_algebra` has the products and the
Cholesky factor of both, with `blas_threads`. `uniform_grid` rounds to integers with scale and zero point.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
