"""Jobs: the work of each command of haloquant, from its inputs to its files.

`quantize`, `compare`, `exploration`, `codesign`, `machines`, `mac`, `evaluation`, `explain_tiles`, `recovery`,
`generation_speed` and `operator_speed` (with `energy_counters`), `model_transfer`, `early_exit` and `paper` do the
work; `engine` runs their tasks. `input_sparsity` and `mixed_activations` give a model its thresholds. `inputs` opens
models and texts, `recipe_checks` checks settings, `devices` chooses a device. `step_files` keeps finished steps;
`provenance` names what they depend on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
