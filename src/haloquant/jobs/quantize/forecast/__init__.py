"""Predict the time, memory and disk space of a quantization before it runs.

`model_sizes` reads the sizes of a model, `machine_rates` measures this machine, and `plan` computes memory and time of
every stage from both. `device_plan` does so for GPUs at `device_rates`; `device_room` refuses a model that a GPU does
not hold.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
