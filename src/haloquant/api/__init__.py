"""The public functions of haloquant: each checks its arguments, does one job and returns a typed record.

`quantization`, `evaluation`, `packed_models` and `partial_sums` take models, `recovery` trains scales, `recipe_jobs`
takes a recipe, and `explanations` a finished run. `machines`, `machine_studies` and `tile_orders` simulate
accelerators (`machine_inputs`), and `result_tables` and `result_files` turn what they find into rows and files.
`circuits` and `mac_profiles` measure and describe MACs; `paper` holds the HALO paper. `arguments` and `progress` serve
all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
