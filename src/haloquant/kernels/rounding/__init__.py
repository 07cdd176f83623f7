"""Rounding of one layer in torch, on a CPU or a GPU: the second engine behind `jobs.quantize.layer_rounding`.

`torch_layer` holds a layer on the device and carries out the steps. Each step is a module: `sparse_search`,
`scale_search`, `factorization`, `compensation`, `refinement`. `word_tensors` holds the codebooks as tensors,
`column_steps` the loops over columns (a Triton kernel on a GPU), `row_band` a part of the rows, `shared_hessian` what
layers with the same inputs share, and `memory` the bytes that a layer takes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
