"""Simulate a quantized model and its rivals on a machine.

`systems` opens a model and makes the systems; `method_cost` schedules and simulates one of them. `sweeps` varies the
conditions, `supply_law` gives the delay at a lower supply, and `element_comparison` compares processing elements.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
