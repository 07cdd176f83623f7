"""The public functions of haloquant: each checks its arguments, does one job and returns a typed record.

`quantization`, `evaluation` and `packed_models` take model folders; `recipe_jobs` takes a recipe; `machines` and
`machine_studies` simulate accelerators; `circuits` measures MACs; `paper` holds the HALO paper
against all of it. `arguments` and `progress` serve all of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
