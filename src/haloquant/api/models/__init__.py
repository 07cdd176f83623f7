"""Functions that take a language model: quantize it, evaluate it, load what was packed, train its scales.

`quantization`, `evaluation`, `packed_models` and `recovery` do this. `quantization_forecast` predicts what a
quantization takes, and `quantization_checks` checks the arguments of both. `exit_evaluation` lets tokens leave early.
`partial_sums` measures what a MAC adds up, `measurement` times generated tokens, and `model_transfer` says what a model
costs over a link.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
