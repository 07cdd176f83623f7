"""The public functions of haloquant: each checks its arguments, does one job and returns a typed record.

`models` takes language models, `machines` simulates accelerators, and `macs` measures circuits. `recipe_jobs` takes a
recipe, `explanations` a finished run, and `paper` holds the HALO paper. `arguments` and `progress` serve all.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
