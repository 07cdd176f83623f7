"""Simulate a quantized model and its rivals on a machine.

`model_inputs`, `model_layers` and `drawn_tiles` give shapes and tiles; `systems` makes the systems, `own_clocks` their
clocks by a profile's own picoseconds; `method_cost` simulates one. `sweeps` varies the conditions; `supply_law` gives
the delay at a lower supply. `element_comparison`, `element_systems`, `new_silicon` and `new_silicon_studies` compare
processing elements; `early_stop` says what a bit-serial one gains, `left_out_systems` which do not fit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
