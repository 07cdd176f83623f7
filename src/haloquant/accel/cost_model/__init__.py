"""Cost model of a pass on a systolic accelerator.

`layer_work` and `memory_traffic` compute the work and the bytes of each layer, with inputs left out by `input_density`.
`schedule_steps` divides a schedule into steps, which `schedule_coverage` checks. `time_bounds` (with `cycles`) and
`energy` give time and energy, `step_cost` those of a step. `group_cost` (fast) and `phase_cost` (general) add the steps
up over a pass. `reference` holds closed forms for tests.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
