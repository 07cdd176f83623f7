"""Time and energy of a quantized model on a described accelerator.

`workload` makes the matrix products of a pass. `simulation` runs a schedule of them on a `Target` with the formulas of
`cost_model`; `results` and `timeline` hold the outcome. `rival_systems` and `system_comparison` put other methods on
the same machine. `gpu_roofline` estimates the same pass on a GPU.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
