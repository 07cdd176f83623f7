"""Quantization of weight matrices: floats and calibration statistics in, codes, scales and sparse weights out.

`codebook` chooses words, `sparse` outliers, `allocation` (within `budgets`) classes of `tiles`; `layer` and `rounding`
(or `paper_method`) quantize, `format` stores. `input_sparsity` leaves inputs out. `transforms`, `rivals` are other
methods. `hessian`, `shrinkage`, `sensitivity`, `kronecker_loss` weigh errors. `float16`, `tile_histogram`,
`accumulator`, `input_checks` serve all. `reference` is slow and simple.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
