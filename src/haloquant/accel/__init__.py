"""Time and energy of a quantized model on a described accelerator.

`simulation` runs a `workload` on a `target` by `cost_model`, with `clock_checks`. `results`, `timeline`, `roofline` and
`chart_rows` hold the outcome. `rival_systems`, `system_comparison`, `deadline`, `bit_operations` and `gpu_roofline`
compare. `elements`, `processing_elements` and `side_costs` describe elements; `platforms` holds measured devices.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
