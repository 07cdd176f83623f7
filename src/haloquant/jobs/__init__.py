"""Jobs: the work of each command of haloquant, from its inputs to its files.

`quantize`, `compare`, `exploration`, `codesign`, `machines`, `mac`, `evaluation`, `explain_tiles`, `recovery`,
`generation_speed` (with `energy_counters`), `model_transfer` and `paper` do the work; `engine` runs their tasks.
`inputs` opens models and texts, `recipe_checks` checks settings, `devices` chooses a device. `step_files` keeps
finished steps; `provenance` names what they depend on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
