"""Cost model of a pass on a systolic accelerator.

`layer_work` and `memory_traffic` compute the work and the bytes of each layer, `schedule_steps` divides a schedule into
steps, `time_bounds` and `energy` give a step's time and energy. `group_cost` (fast) and `phase_cost` (general) add the
steps up over a pass.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
