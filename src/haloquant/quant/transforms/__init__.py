"""Equivalent transforms before rounding: y = W x = (W diag(s)) (x / s), so that the matrix has smaller rounding errors.

`smoothquant` and `awq` find the scale s; `input_scaling` applies it to weights and statistics; `composition` quantizes
the scaled weight. `error_propagation` corrects a weight for errors of its input.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
