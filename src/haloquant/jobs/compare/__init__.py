"""The whole job of `haloquant run`: compare HALO's goals with full precision and rivals on one model.

`job` is the entry, `job_steps` the shared steps. `method_steps` makes one method (`rivals`, `rival_layers`, `accuracy`,
`method_files`, `rival_export`); `method_tasks` and `rival_tasks` do so on workers. `results` gathers the rows of
`result_rows`, `gpu_results`, `sweep_results` and `new_silicon_results`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
