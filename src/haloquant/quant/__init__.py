"""Quantization of weight matrices: floats and calibration statistics in, codes, scales and sparse weights out.

`codebook` chooses the words of each class, `sparse` the weights kept apart, `allocation` the class of every tile;
`layer` and `rounding` quantize one layer, `format` stores it. `transforms` scale inputs before; `rivals` are other
methods; `hessian`, `sensitivity` and `kronecker_loss` measure which errors matter. `reference` holds slow reference
implementations for tests.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
