"""Simulate a quantized model and its rivals on a machine.

`model_inputs`, `model_layers` and `drawn_tiles` give shapes and tiles; `systems` makes the systems; `method_cost`
simulates one. `sweeps` varies the conditions; `supply_law` gives the delay at a lower supply. `element_comparison`,
`element_systems` and `new_silicon` compare processing elements; `left_out_systems` says which of them do not fit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
