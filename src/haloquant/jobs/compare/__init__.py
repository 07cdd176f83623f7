"""The whole job of `haloquant run`: compare HALO's goals with full precision and rivals on one model.

`job` is the entry. `job_steps` holds the inputs and the steps that all methods share; `method_steps` makes one method
(`rivals`, `accuracy`, `method_files`), and `method_tasks` does so on workers. `results` gathers the rows that
`result_rows`, `gpu_results` and `sweep_results` compute.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
